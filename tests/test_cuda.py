"""The CUDA kernels against the CPU's in float64, in both regimes, and in the company of torch."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the CUDA kernels serve torch operators")

import pqrnn_native as pq
from pqrnn_native import cuda
from pqrnn_native.nn import QRNN, PQRNNEncoder, functional, ops, projection

DEVICE = "cuda"

if not cuda.status():
    pytest.skip(str(cuda.status()), allow_module_level=True)
if DEVICE == "cuda" and not torch.cuda.is_available():
    pytest.skip("this torch has no CUDA", allow_module_level=True)

POOLINGS = {"f": 2, "fo": 3, "ifo": 4}
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# Steps: a thread goes through all of a short sequence; a long one is cut into chunks.
REGIMES = {"whole": 21, "chunks": 600}
# of the norm of a result
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}

by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
by_regime = pytest.mark.parametrize("steps", REGIMES.values(), ids=REGIMES.keys())
by_pooling = pytest.mark.parametrize("pooling", POOLINGS)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(5)


def close(actual: Any, expected: Any, dtype: Any, factor: float = 1.0) -> None:
    """Every result against float64, by the norm of the difference."""
    for index, (a, e) in enumerate(zip(actual, expected, strict=True)):
        a, e = a.detach().double().cpu(), e.detach().double()
        assert a.shape == e.shape, index
        assert torch.isfinite(a).all(), index
        scale = max(float(e.norm()), 1e-3 * e.numel() ** 0.5)
        assert float((a - e).norm()) <= factor * TOLERANCE[dtype] * scale, index


def both(
    call: Callable[..., Any], tensors: list[Any], dtype: Any, factor: float = 1.0, outputs: int = 99
) -> None:
    """Values and gradients of ``call`` on the device in ``dtype`` and on the CPU in float64."""
    stored = [None if t is None else t.to(dtype) if t.is_floating_point() else t for t in tensors]
    results = []
    cotangents: list[Any] = []
    for device, kind in (("cpu", torch.float64), (DEVICE, dtype)):
        args = []
        for value in stored:
            if value is None or not value.is_floating_point():
                args.append(None if value is None else value.to(device))
            else:
                args.append(value.to(device, kind).detach().requires_grad_())
        out = call(*args)
        out = [out] if isinstance(out, torch.Tensor) else list(out)[:outputs]
        if not cotangents:
            cotangents = [torch.randn_like(o).to(dtype) for o in out]
        leaves = [a for a in args if a is not None and a.requires_grad]
        gradients = torch.autograd.grad(
            out, leaves, [c.to(device, kind) for c in cotangents], materialize_grads=True
        )
        results.append([*out, *gradients])
    close(results[1], results[0], dtype, factor)


def slopes(h: Any) -> Any:
    """A number for each channel, the same on every device, which the devices' cosines are not."""
    return torch.arange(h.shape[-1], dtype=torch.float64).cos().to(h.device)


def lengths_of(count: int, steps: int) -> Any:
    return torch.tensor([steps, 0, 1, steps // 2, steps - 1, 9][:count])


class Layout:
    """Where rows lie: padded, padded with lengths, time-major, or ragged."""

    def __init__(self, name: str, count: int, steps: int) -> None:
        self.name, self.count, self.steps = name, count, steps
        self.offsets = self.lengths = None
        self.total = 0
        if name == "ragged":
            each = lengths_of(count, steps)
            self.offsets = torch.cat((torch.zeros(1, dtype=torch.int64), each.cumsum(0)))
            self.total = int(each.sum())
        elif name == "lengths":
            self.lengths = lengths_of(count, steps)

    def rows(self, width: int) -> Any:
        if self.name == "ragged":
            return torch.randn(self.total, width, dtype=torch.float64)
        if self.name == "time":
            return torch.randn(self.steps, self.count, width, dtype=torch.float64).transpose(0, 1)
        return torch.randn(self.count, self.steps, width, dtype=torch.float64)


LAYOUTS = ("full", "lengths", "time", "ragged")
by_layout = pytest.mark.parametrize("layout", LAYOUTS)


# --- The operators --------------------------------------------------------------------------------


@by_dtype
@by_regime
@by_layout
@pytest.mark.parametrize("reverse", [False, True])
def test_scan(dtype: Any, steps: int, layout: str, reverse: bool) -> None:
    at = Layout(layout, 5, steps)
    h0 = torch.randn(5, 6, dtype=torch.float64) if reverse else None

    def call(f: Any, x: Any, h0: Any, offsets: Any, lengths: Any) -> Any:
        return ops.forget_mult(f, x, h0, offsets, lengths, reverse)

    both(call, [at.rows(6).sigmoid(), at.rows(6), h0, at.offsets, at.lengths], dtype)


@by_dtype
@by_regime
@by_pooling
@pytest.mark.parametrize(("layout", "reverse"), [("full", True), ("lengths", False)])
@pytest.mark.parametrize("zoneout", [0.0, 0.3])
def test_pooling(
    dtype: Any, steps: int, pooling: str, layout: str, reverse: bool, zoneout: float
) -> None:
    at = Layout(layout, 5, steps)
    gates = [at.rows(6).tanh(), *(at.rows(6).sigmoid() for _ in range(3))]
    present = {"f": 2, "fo": 3, "ifo": 4}[pooling]
    gates[present:] = [None] * (4 - present)
    h0 = torch.randn(5, 6, dtype=torch.float64)

    def call(z: Any, f: Any, o: Any, i: Any, h0: Any, lengths: Any, seed: Any) -> Any:
        h, _, last = ops.qrnn_pool(z, f, o, i, h0, lengths, seed, zoneout, reverse)
        return h, last

    both(call, [*gates, h0, at.lengths, torch.tensor(77)], dtype)


def gate_case(
    layout: str, steps: int, pooling: str, directions: int, taps: int, hidden: int = 6
) -> tuple[list[Any], Any, Any]:
    at = Layout(layout, 5, steps)
    channels = directions * POOLINGS[pooling] * hidden
    h0 = torch.randn(5, directions, hidden, dtype=torch.float64)
    return [at.rows(channels * taps), h0, at.offsets, at.lengths, torch.tensor(78)], at, channels


@by_dtype
@by_regime
@by_pooling
@by_layout
@pytest.mark.parametrize(
    ("direction", "taps", "zoneout"), [("both", 1, 0.0), ("backward", 2, 0.0), ("both", 3, 0.4)]
)
def test_gates(
    dtype: Any, steps: int, pooling: str, layout: str, direction: str, taps: int, zoneout: float
) -> None:
    directions = 1 + (direction == "both")
    args, _, channels = gate_case(layout, steps, pooling, directions, taps)
    real = torch.float64 if dtype == torch.float64 else torch.float32
    coefficients = 0.5 * torch.randn(3, channels, dtype=real)

    def call(gates: Any, h0: Any, offsets: Any, lengths: Any, seed: Any) -> Any:
        own = coefficients.to(gates.device, torch.float64 if gates.dtype == torch.float64 else real)
        own = own.requires_grad_()
        h, _, last = ops.gate_pool(
            gates, own, h0, offsets, lengths, seed, 6, taps, pooling, direction, zoneout
        )
        coefficient_gradient = torch.autograd.grad(h.sum(), own, retain_graph=True)[0]
        return h, last, coefficient_gradient

    # The last result has no gradient of its own.
    stored = [a.to(dtype) if a is not None and a.is_floating_point() else a for a in args]
    results = []
    for device, kind in (("cpu", torch.float64), (DEVICE, dtype)):
        moved = [
            None if a is None else a.to(device, kind if a.is_floating_point() else None)
            for a in stored
        ]
        for index in (0, 1):
            moved[index] = moved[index].detach().requires_grad_()
        h, last, g_coefficients = call(*moved)
        loss = (h.double() * slopes(h)).sum() + last.sum()
        results.append([h, last, g_coefficients, *torch.autograd.grad(loss, moved[:2])])
    close(results[1], results[0], dtype, 2)


@by_dtype
@by_regime
@pytest.mark.parametrize("layout", ["lengths", "ragged"])
@pytest.mark.parametrize(("pooling", "taps"), [("fo", 2), ("ifo", 1), ("f", 3)])
def test_normalised_gates(dtype: Any, steps: int, layout: str, pooling: str, taps: int) -> None:
    args, _, channels = gate_case(layout, steps, pooling, 2, taps)
    real = torch.float64 if dtype == torch.float64 else torch.float32
    weight, bias = (torch.randn(channels, dtype=real) for _ in range(2))

    def call(gates: Any, h0: Any, offsets: Any, lengths: Any, seed: Any) -> list[Any]:
        kind = torch.float64 if gates.dtype == torch.float64 else real
        own = [t.to(gates.device, kind).requires_grad_() for t in (weight, bias)]
        h, _, last, _, moments = ops.norm_gate_pool(
            gates, *own, h0, offsets, lengths, seed, 6, taps, pooling, "both", 0.2, 1e-3
        )
        loss = (h.double() * slopes(h)).sum() + last.sum()
        return [h, last, moments, *torch.autograd.grad(loss, [gates, h0, *own])]

    stored = [a.to(dtype) if a is not None and a.is_floating_point() else a for a in args]
    results = []
    for device, kind in (("cpu", torch.float64), (DEVICE, dtype)):
        moved = [
            None if a is None else a.to(device, kind if a.is_floating_point() else None)
            for a in stored
        ]
        for index in (0, 1):
            moved[index] = moved[index].detach().requires_grad_()
        results.append(call(*moved))
    close(results[1], results[0], dtype, 4)


@by_dtype
@pytest.mark.parametrize("layout", ["lengths", "ragged"])
@pytest.mark.parametrize("heads", [1, 3])
def test_attention(dtype: Any, layout: str, heads: int) -> None:
    at = Layout(layout, 6, 40)

    def call(states: Any, logits: Any, offsets: Any, lengths: Any) -> Any:
        return ops.attend(states, logits, offsets, lengths)[0]

    both(call, [at.rows(96), 3 * at.rows(heads), at.offsets, at.lengths], dtype, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_odd_widths_and_shifted_views(dtype: Any) -> None:
    f, x = torch.rand(2, 30, 7), torch.randn(2, 30, 7)
    both(lambda f, x: ops.forget_mult(f, x, None, None, None, False), [f, x], dtype)
    wide = torch.rand(2, 30, 9)

    def shifted(f: Any, x: Any) -> Any:
        return ops.forget_mult(f[..., 1:], x[..., :8], None, None, None, True)

    both(shifted, [wide, torch.randn(2, 30, 9)], dtype)
    gates = torch.randn(2, 30, 3 * 5 * 2)
    coefficients = torch.stack((torch.zeros(15), torch.ones(15), torch.zeros(15)))

    def pool(gates: Any) -> Any:
        own = coefficients.to(gates.device)
        own = own.double() if gates.dtype == torch.float64 else own
        return ops.gate_pool(gates, own, None, None, None, None, 5, 2, "fo", "forward", 0.0)[::2]

    both(pool, [gates], dtype)


def test_a_batch_that_fills_the_card() -> None:
    gates = [torch.randn(64, 40, 520) for _ in range(3)]
    gates = [gates[0].tanh(), *(g.sigmoid() for g in gates[1:])]
    both(lambda *g: functional.qrnn_pool(*g), gates, torch.float32)


def test_zoneout_draws_the_masks_of_the_cpu() -> None:
    z = torch.randn(3, 300, 130)
    args = (z, torch.zeros_like(z), None, None, None, None, torch.tensor(-9), 0.4, True)
    expected = ops.qrnn_pool(*args)[0]
    moved = [a.to(DEVICE) if isinstance(a, torch.Tensor) else a for a in args]
    assert torch.equal(ops.qrnn_pool(*moved)[0].cpu(), expected)


def test_gradcheck() -> None:
    options: dict[str, Any] = {"dtype": torch.float64, "device": DEVICE}
    f, x, h0 = torch.rand(2, 11, 2, **options), torch.randn(2, 11, 2, **options), None
    lengths = torch.tensor([11, 4], device=DEVICE)
    f.requires_grad_(), x.requires_grad_()
    for reverse in (False, True):

        def scan(f: Any, x: Any, reverse: bool = reverse) -> Any:
            return ops.forget_mult(f, x, h0, None, lengths, reverse)

        assert torch.autograd.gradcheck(scan, (f, x))
        assert torch.autograd.gradgradcheck(scan, (f, x))
    gates = torch.randn(2, 11, 2 * 3 * 2, **options).requires_grad_()
    coefficients = torch.randn(3, 12, **options).requires_grad_()
    start = torch.randn(2, 2, 2, **options).requires_grad_()

    def pool(gates: Any, coefficients: Any, h0: Any) -> Any:
        seed = torch.tensor(3, device=DEVICE)
        args = (gates, coefficients, h0, None, lengths, seed, 2, 1, "fo", "both", 0.3)
        return ops.gate_pool(*args)[::2]

    assert torch.autograd.gradcheck(pool, (gates, coefficients, start))
    (first,) = torch.autograd.grad(
        pool(gates, coefficients, start)[0].sum(), gates, create_graph=True
    )
    with pytest.raises(NotImplementedError, match="second derivatives"):
        first.sum().backward()


def test_empty_inputs() -> None:
    empty = torch.zeros(0, 5, 4, device=DEVICE)
    assert functional.forget_mult(empty, empty).shape == (0, 5, 4)
    no_steps, h0 = torch.zeros(2, 0, 4, device=DEVICE), torch.randn(2, 4, device=DEVICE)
    _, last = functional.qrnn_pool(no_steps, no_steps, no_steps, h0=h0, return_state=True)
    assert torch.equal(last, h0)


def test_lengths_out_of_range_are_clamped() -> None:
    f, x = torch.rand(3, 7, 4, device=DEVICE), torch.randn(3, 7, 4, device=DEVICE)
    wild = torch.tensor([-5, 1 << 40, 3], device=DEVICE)
    expected = functional.forget_mult(f, x, lengths=torch.tensor([0, 7, 3], device=DEVICE))
    assert torch.equal(functional.forget_mult(f, x, lengths=wild), expected)
    assert torch.equal(functional.forget_mult(f, x, lengths=wild.clamp(0, 7).cpu()), expected)


def test_bad_input_is_named() -> None:
    f, x = torch.rand(3, 7, 4, device=DEVICE), torch.randn(3, 7, 4, device=DEVICE)
    with pytest.raises(TypeError, match="x must be"):
        functional.forget_mult(f, x.half())
    with pytest.raises(ValueError, match="x must be of shape"):
        functional.forget_mult(f, x[:2])
    with pytest.raises(ValueError, match="h0 must be of shape"):
        functional.forget_mult(f, x, x[0])
    with pytest.raises(TypeError, match="dtype must be"):
        functional.forget_mult(f.int(), x.int())


# --- Modules --------------------------------------------------------------------------------------


def test_qrnn_module() -> None:
    torch.manual_seed(2)
    layer = QRNN(10, 8, num_layers=2, bidirectional=True, pooling="ifo")
    rows, lengths = torch.randn(4, 19, 10), torch.tensor([19, 3, 0, 11])
    expected, expected_last = layer(rows, lengths=lengths)
    moved = layer.to(DEVICE)
    out, last = moved(rows.to(DEVICE), lengths=lengths)
    close((out, last), (expected, expected_last), torch.float32, 5)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        rows[:2].to(DEVICE), lengths[:2], batch_first=True
    )
    out, _ = moved(packed)
    padded, _ = torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
    close((padded[1, :3],), (expected[1, :3],), torch.float32, 5)


def encoder_case() -> tuple[Any, Any, Any]:
    config = pq.PQRNNConfig(
        projection=pq.ProjectionConfig(feature_size=64), bottleneck_size=32, state_size=16,
        num_layers=2, kernel_size=2, attention_heads=2, zoneout=0.0,
    )  # fmt: skip
    torch.manual_seed(3)
    features = torch.randint(-1, 2, (50, 64)).float()
    return PQRNNEncoder(config), features, torch.tensor([0, 20, 20, 21, 50])


@pytest.mark.parametrize("training", [False, True])
def test_encoder(training: bool) -> None:
    encoder, features, offsets = encoder_case()
    encoder.train(training)
    results = []
    for device in ("cpu", DEVICE):
        encoder = encoder.to(device)
        encoder.zero_grad()
        pooled, rows = encoder(features.to(device), offsets.to(device))
        (pooled.square().sum() + rows.sin().sum()).backward()
        gradients = [p.grad.clone() for p in encoder.parameters()]
        results.append([r.detach().cpu() for r in (pooled, rows, *gradients)])
    close(results[1], results[0], torch.float32, 50)


def test_encoder_under_autocast() -> None:
    encoder, features, offsets = (v.to(DEVICE) for v in encoder_case())
    expected = encoder(features, offsets)[0]
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast(DEVICE, dtype):
            pooled, _ = encoder(features, offsets)
        pooled.float().square().sum().backward()
        assert float((pooled - expected).detach().norm() / expected.detach().norm()) < 0.05


def test_qrnn_pool_under_autocast_is_float32() -> None:
    z = torch.rand(2, 5, 4, device=DEVICE, dtype=torch.bfloat16)
    with torch.autocast(DEVICE, torch.bfloat16):
        assert functional.qrnn_pool(z, z, z).dtype == torch.float32


# --- Projection -----------------------------------------------------------------------------------


def check_projection(words: list[bytes], size: int, char: str) -> None:
    host = projection.join_tokens(words)
    device = tuple(t.to(DEVICE) for t in host)
    fingerprints = projection.hash_tokens(*device, char=char)
    assert torch.equal(fingerprints.cpu(), projection.hash_tokens(*host, char=char))
    for tokens in (fingerprints, device):
        packed = projection.packed_features(tokens, size, char=char)
        assert torch.equal(packed.cpu(), projection.packed_features(host, size, char=char))
        for dtype in (torch.int8, torch.float16, torch.bfloat16, torch.float32):
            found = projection.ternary_features(tokens, size, char=char, dtype=dtype)
            expected = projection.ternary_features(host, size, char=char, dtype=dtype)
            assert torch.equal(found.cpu(), expected)


@pytest.mark.parametrize("char", ["unsigned", "signed"])
@pytest.mark.parametrize("size", [1, 31, 64, 100, 1024, 4096])
def test_projection_is_bit_exact(char: str, size: int) -> None:
    rng = np.random.default_rng(4)
    words = [rng.integers(0, 256, n, np.uint8).tobytes() for n in rng.integers(0, 30, 100)]
    check_projection(words, size, char)


@pytest.mark.parametrize("char", ["unsigned", "signed"])
def test_projection_of_the_published_vectors(shared: Path, char: str) -> None:
    path = shared / "conformance" / "projection_public.jsonl"
    if not path.is_file():
        pytest.skip(f"no vectors at {path}")
    operator = pq.Projection(192, char=char)  # type: ignore[arg-type]
    with path.open(encoding="utf-8") as lines:
        texts = [json.loads(line).get("input", "") for line in itertools.islice(lines, 400)]
    texts = [text for text in texts if isinstance(text, str)]
    words = [word for text in texts for word in operator.words(text)]
    check_projection(words, 192, char)
    tokens = tuple(t.to(DEVICE) for t in projection.join_tokens(words))
    found = projection.ternary_features(tokens, 192, char=char)
    np.testing.assert_array_equal(found.cpu().numpy(), operator.ragged(texts)[0])


@pytest.mark.parametrize(("size", "outputs"), [(1024, 256), (512, 8), (80, 72), (48, 5)])
@pytest.mark.parametrize("tokens", [1, 127, 300])
def test_product_with_ternary_features(size: int, outputs: int, tokens: int) -> None:
    fingerprints = torch.randint(-(2**63), 2**63 - 1, (tokens, 2), device=DEVICE)
    weight = torch.randn(outputs, size, device=DEVICE).bfloat16().float().requires_grad_()
    features = projection.ternary_features(fingerprints, size, dtype=torch.float32).double()
    out = projection.ternary_linear(fingerprints, weight)
    close((out,), (features.cpu() @ weight.double().cpu().T,), torch.float32)
    gradient = torch.randn_like(out).bfloat16().float()
    (found,) = torch.autograd.grad(out, weight, gradient)
    close((found,), (gradient.double().cpu().T @ features.cpu(),), torch.bfloat16)


# --- In the company of torch ----------------------------------------------------------------------

needs_device = pytest.mark.skipif(DEVICE != "cuda", reason="needs the device itself")


@needs_device
@by_regime
def test_cuda_graph(steps: int) -> None:
    gates = torch.randn(3, steps, 2 * 3 * 8, device=DEVICE, requires_grad=True)
    lengths = torch.tensor([steps, 5, 0], device=DEVICE)
    weight, bias = (torch.randn(48, device=DEVICE, requires_grad=True) for _ in range(2))

    def step() -> tuple[Any, ...]:
        h, _, last, _, _ = ops.norm_gate_pool(
            gates, weight, bias, None, None, lengths, None, 8, 1, "fo", "both", 0.0, 1e-3
        )
        return h, *torch.autograd.grad(h.sin().sum() + last.sum(), (gates, weight, bias))

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = step()
    for _ in range(2):
        with torch.no_grad():
            gates.normal_()
        lengths.copy_(torch.tensor([4, steps, 1]))
        graph.replay()
        torch.testing.assert_close(recorded, step(), rtol=1e-5, atol=1e-5)


@needs_device
def test_graph_replays_draw_new_masks() -> None:
    z = torch.randn(2, 50, 64, device=DEVICE)
    functional.qrnn_pool(z, torch.zeros_like(z), zoneout=0.5)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        h = functional.qrnn_pool(z, torch.zeros_like(z), zoneout=0.5)
    graph.replay()
    first = h.clone()
    graph.replay()
    assert not torch.equal(first, h)


@needs_device
@pytest.mark.filterwarnings("ignore")
def test_compiled_without_overhead() -> None:
    pytest.importorskip("triton")
    gates = torch.randn(3, 20, 3 * 8, device=DEVICE, requires_grad=True)
    coefficients = torch.randn(3, 24, device=DEVICE, requires_grad=True)

    def layer(gates: Any, coefficients: Any) -> Any:
        args = (gates.sin(), coefficients, None, None, None, None, 8, 1, "fo", "forward", 0.0)
        return ops.gate_pool(*args)[0].cos()

    compiled = torch.compile(layer, mode="reduce-overhead", fullgraph=True)
    expected = layer(gates, coefficients)
    expected_gradients = torch.autograd.grad(expected.sum(), (gates, coefficients))
    for _ in range(3):
        torch.compiler.cudagraph_mark_step_begin()
        out = compiled(gates, coefficients)
        gradients = torch.autograd.grad(out.sum(), (gates, coefficients))
        torch.testing.assert_close(out, expected)
        torch.testing.assert_close(gradients, expected_gradients)


@needs_device
def test_opcheck() -> None:
    gates = torch.randn(9, 2 * 3 * 4 * 2, device=DEVICE, requires_grad=True)
    weight, bias = (torch.randn(24, device=DEVICE, requires_grad=True) for _ in range(2))
    offsets = torch.tensor([0, 4, 9], device=DEVICE)
    seed = torch.tensor(3, device=DEVICE)
    args = (gates, weight, bias, None, offsets, None, seed, 4, 2, "fo", "both", 0.2, 1e-3)
    torch.library.opcheck(ops.norm_gate_pool, args)
    f, x = (torch.rand(2, 9, 4, device=DEVICE, requires_grad=True) for _ in range(2))
    torch.library.opcheck(ops.forget_mult, (f, x, None, None, None, True))
    torch.library.opcheck(ops.qrnn_pool, (f, x, f, None, None, None, seed, 0.2, True))
    logits = torch.randn(9, 3, device=DEVICE, requires_grad=True)
    torch.library.opcheck(ops.attend, (gates, logits, offsets, None))


@needs_device
def test_current_stream_is_used() -> None:
    f, x = torch.rand(4, 4000, 64, device=DEVICE), torch.randn(4, 4000, 64, device=DEVICE)
    expected = functional.forget_mult(f, x)
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        busy = torch.randn(4096, 4096, device=DEVICE)
        for _ in range(5):
            busy = busy @ busy * 1e-3
        late = x * 0 + x  # on the stream, so ready only when the products are
        h = functional.forget_mult(f, late)
    stream.synchronize()
    assert torch.equal(h, expected)


@needs_device
def test_every_device() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one device")
    f, x = torch.rand(2, 30, 8), torch.randn(2, 30, 8)
    expected = functional.forget_mult(f, x)
    for index in range(torch.cuda.device_count()):
        found = functional.forget_mult(f.to(index := f"cuda:{index}"), x.to(index))
        close((found,), (expected,), torch.float32)
    with pytest.raises(ValueError, match="x must be"):
        functional.forget_mult(f.to("cuda:0"), x.to("cuda:1"))


@needs_device
def test_every_kernel_once() -> None:
    """A short walk through all kernels, for compute-sanitizer."""
    kinds = [(dtype, "fo") for dtype in DTYPES]
    for dtype, pooling in (*kinds, (torch.float32, "ifo"), (torch.bfloat16, "f")):
        for steps in REGIMES.values():
            args, at, channels = gate_case("ragged", steps, pooling, 2, 2)
            gates, h0, offsets, _, seed = (None if a is None else a.to(DEVICE) for a in args)
            gates, h0 = gates.to(dtype).requires_grad_(), h0.to(dtype)
            real = torch.float64 if dtype == torch.float64 else torch.float32
            weight = torch.ones(channels, device=DEVICE, dtype=real)
            h = ops.norm_gate_pool(
                gates, weight, weight, h0, offsets, None, seed, 6, 2, pooling, "both", 0.2, 1e-3
            )[0]
            logits = torch.ones(at.total, 2, device=DEVICE, dtype=dtype)
            ops.attend(h, logits, offsets, None)[0].sum().backward()
            x = torch.rand(2, steps, 6, device=DEVICE, dtype=dtype, requires_grad=True)
            functional.forget_mult(x, x).sum().backward()
            rest = (x,) * (POOLINGS[pooling] - 2)
            functional.qrnn_pool(x, x, *rest, reverse=True).sum().backward()
    check_projection([b"a", b"", b"some longer token"], 100, "signed")
    fingerprints = torch.randint(-9, 9, (130, 2), device=DEVICE)
    projection.ternary_linear(fingerprints, torch.ones(72, 80, device=DEVICE))
    torch.cuda.synchronize()
