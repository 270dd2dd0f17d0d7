"""Training: a QRNN layer, and whole steps of a parser, against their matrix products and rivals.

Matrix products are what any implementation has to do, so they stand for the limit.
"""

from __future__ import annotations

import bench_rivals
import bench_tools
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

import bench_training as training

from pqrnn_native.nn import QRNN
from pqrnn_native.train.devices import bfloat16_pays

LAYERS = [(32, 32, 256), (64, 128, 512)]


@pytest.fixture(scope="module", autouse=True)
def _threads():
    before = torch.get_num_threads()
    torch.set_num_threads(bench_tools.TRAINING_THREADS)
    yield
    torch.set_num_threads(before)


class LoopQRNN(torch.nn.Module):
    """fo pooling over windows of two steps as one writes it without a kernel."""

    def __init__(self, ours):
        super().__init__()
        size = ours.hidden_size
        self.gates = torch.nn.Linear(2 * size, 3 * size)
        with torch.no_grad():
            self.gates.weight.copy_(torch.cat(tuple(ours.weight_l0[0]), 1))
            self.gates.bias.copy_(ours.bias_l0)

    def forward(self, x):  # [time, batch, width]
        before = torch.nn.functional.pad(x[:-1], (0, 0, 0, 0, 1, 0))
        z, f, o = self.gates(torch.cat((before, x), 2)).chunk(3, 2)
        keep = f.sigmoid()
        return o.sigmoid() * training.loop(keep, (1 - keep) * z.tanh())


def _both_passes(module, shape):
    """A call forward and backward: the output, and gradients of the input and all weights."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(shape, generator=generator).requires_grad_()
    needed = (x, *module.parameters())
    with torch.no_grad():
        out = module(x)
    gradient = torch.randn((out[0] if isinstance(out, tuple) else out).shape, generator=generator)

    def run():
        out = module(x)
        out = out[0] if isinstance(out, tuple) else out
        return out, torch.autograd.grad(out, needed, gradient)

    return run


@pytest.mark.benchmark(group="QRNN layer, forward and backward")
@pytest.mark.filterwarnings("ignore:Running SRU on CPU")
@pytest.mark.parametrize("shape", LAYERS, ids=lambda shape: "x".join(map(str, shape)))
def test_layer(benchmark, compare, record_ratio, shape):
    batch, steps, width = shape
    time_major = (steps, batch, width)
    torch.manual_seed(1)
    layer = QRNN(width, width, kernel_size=2, batch_first=False)
    ours, loop = _both_passes(layer, time_major), _both_passes(LoopQRNN(layer), time_major)
    _check_layer(ours(), loop(), layer)

    ours = _both_passes(QRNN(width, width, kernel_size=2), shape)
    linear = torch.nn.Linear(2 * width, 3 * width)
    product, target = "its gate product, nn.Linear", 1 / 1.15
    near = {
        product: _both_passes(linear, (batch, steps, 2 * width)),
        "QRNN, a loop of addcmul": loop,
    }
    large = width > 256
    found = compare(
        ours, near, rounds=6 if large else 20, target=dict.fromkeys(near, 1.0) | {product: target}
    )
    few = 2 if large else 10  # for rivals that take several times as long
    lstm = _both_passes(torch.nn.LSTM(width, width, batch_first=True), shape)
    record_ratio(bench_tools.ratio(ours, lstm, few, label="nn.LSTM"), 1.0)
    try:
        sru = bench_rivals.load_sru().SRU(width, width, num_layers=1)
    except pytest.skip.Exception as reason:
        print(f"without sru: {reason}")
    else:
        rival = _both_passes(sru, time_major)
        record_ratio(bench_tools.ratio(ours, rival, few, label="sru"), 1.0)
        if not large:  # it has no window, so its product is half of ours, and all of this one's
            narrow = _both_passes(QRNN(width, width, kernel_size=1), shape)
            label = "sru, ours without a window"
            record_ratio(bench_tools.ratio(narrow, rival, few, label=label), 1.0)
    benchmark.extra_info["times the gate product"] = round(1 / found[product].median, 3)


def _check_layer(ours, loop, layer):
    """Outputs and gradients of the layer and of plain torch; the latter has both taps in a row."""
    (h, (gx, g_weight, g_bias)), (h_loop, (gx_loop, g_weight_loop, g_bias_loop)) = ours, loop
    taps = torch.stack(g_weight_loop.split(layer.input_size, 1)).unsqueeze(0)
    for found, wanted in ((h, h_loop), (gx, gx_loop), (g_weight, taps), (g_bias, g_bias_loop)):
        scale = float(wanted.detach().abs().max())
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * scale)


@pytest.fixture(scope="module", params=[False, True], ids=["float32", "bfloat16"])
def bfloat16(request):
    if request.param and not bfloat16_pays(torch.device("cpu")):
        pytest.skip("this machine multiplies matrices faster in float32 than in bfloat16")
    return request.param


@pytest.mark.benchmark(group="training steps of a parser")
def test_step(benchmark, compare, bfloat16):
    steps = training.Steps(bfloat16=bfloat16)
    assert 1.9e6 < steps.weights() < 2.1e6
    products = training.products_of(steps)
    first, flops = steps.loss(), sum(product.flops for product in products)
    dtypes = {side[2] for product in products for side in product}
    assert (torch.bfloat16 in dtypes) == bfloat16
    _check_products(steps, products, 64 if bfloat16 else 1)
    label = "its matrix products"
    rivals = {label: training.alone(products)}
    found = compare(steps, rivals, rounds=8, target={label: 1 / 1.4})
    assert steps.loss() < first
    seconds = benchmark.stats.stats.median / training.CALLED
    benchmark.extra_info["times its matrix products"] = round(1 / found[label].median, 3)
    benchmark.extra_info["matrix products a step"] = round(len(products) / training.CALLED, 1)
    benchmark.extra_info["GFLOP a step"] = round(flops / training.CALLED / 1e9, 3)
    benchmark.extra_info["ms a step"] = round(1e3 * seconds, 2)
    benchmark.extra_info["tokens a step"] = round(steps.tokens / training.CALLED, 1)
    benchmark.extra_info["corpus"] = training.examples()[1]
    shares = training.breakdown(steps)
    assert abs(sum(shares.values()) - 100) < 1e-6
    assert min(shares.values()) > 0
    benchmark.extra_info["percent of a step"] = {k: round(v, 1) for k, v in shares.items()}


def _check_products(steps, products, multiple):
    """The layers' products are among them, forward and both ways back, once for each batch.

    Of as many rows as the batch has tokens, filled up to a multiple.
    """
    config = steps.learner.config
    gates, width = 2 * 2 * 3 * config.state_size, config.bottleneck_size
    found = [(*product.left[0], product.right[0][1]) for product in products]
    tokens = [int(steps.source.rows.lengths[rows].sum()) for rows in steps.batches]
    for count in (-(-number // multiple) * multiple for number in tokens):
        for shape in ((count, width, gates), (count, gates, width), (gates, count, width)):
            assert shape in found


@pytest.mark.benchmark(group="training steps of a parser")
def test_step_with_a_loop_over_time(benchmark, compare, bfloat16):
    _check_loop_layer()
    ours = training.Steps(bfloat16=bfloat16)
    loop = training.Steps(bfloat16=bfloat16, layer=training.LoopLayer)
    assert ours.tokens == loop.tokens
    for found, wanted in zip(ours.logits(), loop.logits(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    label = "the scan a loop in torch"
    result = compare(ours, {label: loop}, rounds=6, target={label: 2.5})[label]
    for name, times in (("tokens/s", result.ours), ("tokens/s of the loop", result.rival)):
        benchmark.extra_info[name] = round(ours.tokens / sorted(times)[len(times) // 2])
    benchmark.extra_info["corpus"] = training.examples()[1]


def _check_loop_layer():
    """In training, with the batch's own statistics: output, gradients and running moments."""
    torch.manual_seed(2)
    offsets = torch.tensor([0, 3, 4, 11, 16])
    ours = training.NormalizedQRNNLayer(24, 8, 2, "fo", True, 0.0)
    with torch.no_grad():
        ours.scale.uniform_(0.5, 1.5)
        ours.shift.uniform_(-0.5, 0.5)
    loop = training.like(ours, training.LoopLayer)
    rows, gradient = torch.randn(16, 24), torch.randn(16, 16)
    found = []
    for layer in (ours, loop):
        x = rows.clone().requires_grad_()
        h = layer(x, offsets)
        found.append((h, *torch.autograd.grad(h, (x, *layer.parameters()), gradient)))
        found[-1] += tuple(layer.buffers())
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
