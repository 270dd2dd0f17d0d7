"""The QRNN module against a slow NumPy loop over its documented equations, and its manners."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="the module is a torch module")

from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from pqrnn_native.nn import QRNN

Array = npt.NDArray[Any]

GATES = {"f": "zf", "fo": "zfo", "ifo": "zifo"}


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def one_direction(
    u: Array, weight: Array, bias: Array, start: Array, pooling: str, backward: bool
) -> tuple[Array, Array]:
    """h [time, H] and the last c of one sequence [time, C]; weight [k, G * H, C]."""
    taps, hidden = weight.shape[0], start.shape[0]
    h, c = np.zeros((len(u), hidden)), start
    for t in reversed(range(len(u))) if backward else range(len(u)):
        p = bias.copy()
        for j in range(taps):
            row = t + j if backward else t - taps + 1 + j
            if 0 <= row < len(u):
                p += weight[j] @ u[row]
        gate = {g: p[n * hidden : (n + 1) * hidden] for n, g in enumerate(GATES[pooling])}
        f = sigmoid(gate["f"])
        fresh = sigmoid(gate["i"]) if pooling == "ifo" else 1 - f
        c = f * c + fresh * np.tanh(gate["z"])
        h[t] = c if pooling == "f" else sigmoid(gate["o"]) * c
    return h, c


def qrnn_loop(module: Any, sequences: list[Array], hx: Array | None) -> tuple[list[Array], Array]:
    """Outputs per sequence and the last states [layers * D, batch, H]."""
    directions, hidden = 1 + module.bidirectional, module.hidden_size
    shape = (module.num_layers * directions, len(sequences), hidden)
    start = np.zeros(shape) if hx is None else hx
    last = np.zeros(shape)
    outputs = []
    for n, u in enumerate(sequences):
        for layer in range(module.num_layers):
            weight = getattr(module, f"weight_l{layer}").detach().numpy()
            bias = np.zeros((directions, weight.shape[2]))
            if module.bias:
                bias = getattr(module, f"bias_l{layer}").detach().numpy().reshape(bias.shape)
            parts = []
            for d in range(directions):
                row = layer * directions + d
                h, last[row, n] = one_direction(
                    u, weight[d], bias[d], start[row, n], module.pooling, d == 1
                )
                parts.append(h)
            u = np.concatenate(parts, 1)
        outputs.append(u)
    return outputs, last


def make(*args: Any, seed: int = 0, **kwargs: Any) -> Any:
    """A float64 module with random parameters, biases too."""
    module = QRNN(*args, dtype=torch.float64, **kwargs)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-1, 1, generator=generator)
    return module


def uniform(rng: np.random.Generator, *shape: int) -> Any:
    return torch.from_numpy(rng.uniform(-1, 1, shape))


def close(actual: Any, expected: Array, tolerance: float = 1e-12) -> None:
    assert tuple(actual.shape) == expected.shape
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


def padded(sequences: list[Array], steps: int) -> Array:
    out = np.zeros((len(sequences), steps, sequences[0].shape[1]))
    for n, rows in enumerate(sequences):
        out[n, : len(rows)] = rows
    return out


@pytest.mark.parametrize("case", range(18))
def test_random_configurations_equal_the_loop(isa: str, case: int) -> None:
    rng = np.random.default_rng(case)
    pooling = ("f", "fo", "ifo")[case % 3]
    batch_first, bidirectional, with_hx = (bool(rng.integers(2)) for _ in range(3))
    layers, kernel_size, hidden, width, count, steps = (
        int(rng.integers(1, high)) for high in (4, 5, 20, 7, 5, 9)
    )
    module = make(
        width,
        hidden,
        layers,
        kernel_size,
        pooling,
        bidirectional,
        batch_first=batch_first,
        bias=bool(rng.integers(4)),
        seed=case,
    )
    lengths = rng.integers(0, steps + 1, count) if rng.integers(2) else np.full(count, steps)
    x = rng.uniform(-1, 1, (count, steps, width))
    hx = rng.uniform(-1, 1, (layers * (1 + bidirectional), count, hidden)) if with_hx else None
    expected, expected_last = qrnn_loop(
        module, [rows[:length] for rows, length in zip(x, lengths, strict=True)], hx
    )
    given = torch.from_numpy(x if batch_first else x.transpose(1, 0, 2).copy())
    output, last = module(
        given,
        None if hx is None else torch.from_numpy(hx),
        lengths=None if (lengths == steps).all() else torch.from_numpy(lengths),
    )
    close(output if batch_first else output.transpose(0, 1), padded(expected, steps))
    close(last, expected_last)


@pytest.mark.parametrize("enforce_sorted", [False, True])
@pytest.mark.parametrize("with_hx", [False, True])
def test_packed_sequence_equals_padded(
    rng: np.random.Generator, enforce_sorted: bool, with_hx: bool
) -> None:
    module = make(3, 5, 2, 3, "fo", bidirectional=True)
    lengths = torch.tensor([6, 4, 4, 1] if enforce_sorted else [4, 1, 6, 4])
    x = uniform(rng, 4, 6, 3).requires_grad_()
    hx = uniform(rng, 4, 4, 5) if with_hx else None
    output, last = module(x, hx, lengths=lengths)
    (gradient,) = torch.autograd.grad(output.square().sum() + last.sum(), x)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=enforce_sorted)
    got, got_last = module(packed, hx)
    assert isinstance(got, PackedSequence)
    unpacked, got_lengths = pad_packed_sequence(got, batch_first=True)
    assert torch.equal(got_lengths, lengths)
    torch.testing.assert_close(unpacked, output)
    torch.testing.assert_close(got_last, last)
    (got_gradient,) = torch.autograd.grad(unpacked.square().sum() + got_last.sum(), x)
    assert gradient.any()
    torch.testing.assert_close(got_gradient, gradient)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("with_hx", [False, True])
def test_unbatched_input_is_a_batch_of_one(
    rng: np.random.Generator, batch_first: bool, with_hx: bool
) -> None:
    module = make(3, 5, 2, 2, "ifo", bidirectional=True, batch_first=batch_first)
    x, hx = uniform(rng, 7, 3), uniform(rng, 4, 5) if with_hx else None
    output, last = module(x, hx)
    expected, expected_last = qrnn_loop(
        module, [x.numpy()], None if hx is None else hx[:, None].numpy()
    )
    close(output, expected[0])
    close(last, expected_last[:, 0])


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", ["batched", "unbatched", "packed"])
def test_shapes_are_those_of_lstm(
    batch_first: bool, bidirectional: bool, num_layers: int, kind: str
) -> None:
    options = {"bidirectional": bidirectional, "batch_first": batch_first}
    lstm = torch.nn.LSTM(3, 5, num_layers, **options)
    qrnn = QRNN(3, 5, num_layers, **options)
    x = torch.ones(7, 3) if kind == "unbatched" else torch.ones(4, 6, 3)
    if kind == "packed":
        lengths = [3, 2, 4, 1][: 4 if batch_first else 6] + ([] if batch_first else [1, 1])
        x = pack_padded_sequence(x, lengths, batch_first=batch_first, enforce_sorted=False)
    wanted, (_, wanted_last) = lstm(x)
    output, last = qrnn(x)
    assert type(output) is type(wanted)
    if kind == "packed":
        assert output.data.shape == wanted.data.shape
        for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            assert torch.equal(getattr(output, name), getattr(wanted, name))
    else:
        assert output.shape == wanted.shape
    assert last.shape == wanted_last.shape


def test_time_major_equals_batch_major_values_and_gradients(rng: np.random.Generator) -> None:
    x = uniform(rng, 4, 6, 3)
    first, second = (
        make(3, 5, 2, 3, "fo", bidirectional=True, batch_first=b) for b in (True, False)
    )
    a, b = x.clone().requires_grad_(), x.transpose(0, 1).contiguous().requires_grad_()
    out_a, out_b = first(a)[0], second(b)[0]
    torch.testing.assert_close(out_b.transpose(0, 1), out_a)
    out_a.square().sum().backward()
    out_b.square().sum().backward()
    torch.testing.assert_close(b.grad.transpose(0, 1), a.grad)
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        assert p.grad.any()
        torch.testing.assert_close(q.grad, p.grad)


@pytest.mark.parametrize("pooling", ["f", "fo", "ifo"])
def test_gradients_are_those_of_finite_differences(rng: np.random.Generator, pooling: str) -> None:
    module = make(2, 2, 2, 2, pooling, bidirectional=True)
    names = [name for name, _ in module.named_parameters()]
    lengths = torch.tensor([3, 1])

    def call(x: Any, hx: Any, *parameters: Any) -> Any:
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(module, given, (x, hx), {"lengths": lengths})

    inputs = [uniform(rng, 2, 3, 2).requires_grad_(), uniform(rng, 4, 2, 2).requires_grad_()]
    assert torch.autograd.gradcheck(call, [*inputs, *module.parameters()])


@pytest.mark.parametrize("bias", [False, True])
def test_gradients_reach_every_weight(bias: bool) -> None:
    torch.manual_seed(0)
    module = QRNN(3, 4, 3, 2, "ifo", bidirectional=True, dropout=0.1, zoneout=0.1, bias=bias)
    output, _ = module(torch.randn(8, 9, 3))
    output.square().sum().backward()
    parameters = dict(module.named_parameters())
    wanted = {
        f"{kind}_l{n}" for kind in (["weight", "bias"] if bias else ["weight"]) for n in range(3)
    }
    assert set(parameters) == wanted
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).all(), name


def test_copies_compute_the_same(rng: np.random.Generator) -> None:
    module = make(3, 5, 2, 2, "ifo", bidirectional=True, batch_first=False, bias=False)
    x = uniform(rng, 6, 4, 3)
    expected = module(x)[0]
    blob = io.BytesIO()
    torch.save(module.state_dict(), blob)
    blob.seek(0)
    fresh = make(3, 5, 2, 2, "ifo", bidirectional=True, batch_first=False, bias=False, seed=1)
    assert not torch.equal(fresh(x)[0], expected)
    fresh.load_state_dict(torch.load(blob, weights_only=True))
    copies = [fresh, copy.deepcopy(module), pickle.loads(pickle.dumps(module))]
    with torch.no_grad():
        module.weight_l0.zero_()
    for other in copies:
        assert torch.equal(other(x)[0], expected)
        assert repr(other) == repr(module)
    assert "kernel_size=2, pooling='ifo', bidirectional=True" in repr(module)


def test_state_dict_of_another_shape_is_refused() -> None:
    with pytest.raises(RuntimeError, match="size mismatch for weight_l0"):
        QRNN(3, 5).load_state_dict(QRNN(3, 6).state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": 0}, "input_size must be at least 1, got 0"),
        ({"hidden_size": -1}, "hidden_size must be at least 1, got -1"),
        ({"num_layers": 0}, "num_layers must be at least 1, got 0"),
        ({"kernel_size": 0}, "kernel_size must be at least 1, got 0"),
        ({"pooling": "fifo"}, "pooling must be one of 'f', 'fo', 'ifo', got 'fifo'"),
        ({"zoneout": 1.0}, r"zoneout must be in \[0, 1\), got 1.0"),
        ({"zoneout": -0.1}, r"zoneout must be in \[0, 1\), got -0.1"),
        ({"zoneout": float("nan")}, r"zoneout must be in \[0, 1\), got nan"),
        ({"dropout": 1.5}, r"dropout must be in \[0, 1\), got 1.5"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QRNN(**{"input_size": 3, "hidden_size": 4, **change})


PACKED = pack_padded_sequence(torch.ones(2, 5, 4), [5, 3], batch_first=True)


@pytest.mark.parametrize(
    ("args", "lengths", "error", "message"),
    [
        ((torch.ones(2, 5, 4),), None, ValueError, r"input must be .*3\].*got \(2, 5, 4\)"),
        ((torch.ones(3),), None, ValueError, r"input must be .*got \(3,\)"),
        ((torch.ones(1, 2, 5, 3),), None, ValueError, r"got \(1, 2, 5, 3\)"),
        ((PACKED,), None, ValueError, "input must have 3 channels, got 4"),
        ((PACKED,), torch.tensor([5, 3]), ValueError, "lengths must be None with a packed"),
        (
            (torch.ones(2, 5, 3), torch.ones(1, 3, 6)),
            None,
            ValueError,
            r"hx must be of shape \(1, 2, 6\), got \(1, 3, 6\)",
        ),
        (
            (torch.ones(5, 3), torch.ones(2, 6)),
            None,
            ValueError,
            r"hx must be of shape \(1, 1, 6\), got \(2, 1, 6\)",
        ),
        ((torch.ones(2, 5, 3),), torch.tensor([5, 6]), ValueError, r"lengths\[1\] = 6"),
        ((torch.ones(2, 5, 3),), torch.tensor([5]), ValueError, r"lengths must be of shape \(2,\)"),
        ((torch.ones(2, 5, 3),), torch.ones(2), TypeError, "lengths must be integers.*float32"),
    ],
)
def test_bad_input_is_named(args: Any, lengths: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        QRNN(3, 6)(*args, lengths=lengths)


def test_zoneout_and_dropout_are_off_in_eval(rng: np.random.Generator) -> None:
    plain = make(3, 5, 2)
    noisy = make(3, 5, 2, zoneout=0.5, dropout=0.5)
    x = uniform(rng, 4, 6, 3)
    expected = plain(x)[0]
    assert not torch.equal(noisy(x)[0], expected)
    noisy.eval()
    assert torch.equal(noisy(x)[0], expected)


def test_nothing_of_a_sequence_reaches_another(rng: np.random.Generator) -> None:
    module = make(3, 5, 2, 4, "fo", bidirectional=True)
    x = uniform(rng, 3, 6, 3).requires_grad_()
    output, _ = module(x, lengths=torch.tensor([6, 2, 5]))
    (gradient,) = torch.autograd.grad(output[1].square().sum(), x)
    assert gradient[1, :2].all()
    assert not gradient[[0, 2]].any()
    assert not gradient[1, 2:].any()


def test_empty_batches_and_sequences() -> None:
    module = make(3, 5, 2, 2, "fo", bidirectional=True)
    output, last = module(torch.ones(0, 6, 3).double())
    assert (output.shape, last.shape) == ((0, 6, 10), (4, 0, 5))
    hx = torch.ones(4, 2, 5).double()
    for x, lengths in ((torch.ones(2, 0, 3), None), (torch.ones(2, 6, 3), torch.tensor([0, 0]))):
        module.zero_grad()
        output, last = module(x.double(), hx, lengths=lengths)
        assert output.shape == (*x.shape[:2], 10)
        assert not output.any()
        assert torch.equal(last, hx)
        (output.sum() + last.sum()).backward()
        for parameter in module.parameters():
            assert not parameter.grad.any()


def test_bfloat16_module_and_autocast_stay_close(rng: np.random.Generator) -> None:
    module = make(8, 16, 2, 2, "fo", bidirectional=True)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(0.5)
    x, hx = uniform(rng, 3, 12, 8), uniform(rng, 4, 3, 16)
    expected, expected_last = qrnn_loop(module, list(x.numpy()), hx.numpy())
    single = copy.deepcopy(module).float()
    output, last = single(x.float(), hx.float())
    assert output.dtype == last.dtype == torch.float32
    close(output, np.stack(expected).astype("f4"), 1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = single(x.float(), hx.float())
    half = copy.deepcopy(module).bfloat16()
    for output, last in (under_autocast, half(x.bfloat16(), hx.bfloat16())):
        assert output.dtype == last.dtype == torch.bfloat16
        close(output.double(), np.stack(expected), 0.03)
        close(last.double(), expected_last, 0.03)


def test_training_with_zoneout_learns() -> None:
    """To tell whether a sequence's first step was positive, which takes a state of 12 steps."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = QRNN(2, 16, 2, 2, "fo", zoneout=0.1, dropout=0.1)
        head = torch.nn.Linear(16, 1)
        parameters = [*module.parameters(), *head.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=0.02)

        def data(count: int) -> tuple[Any, Any]:
            x = torch.randn(count, 12, 2)
            x[:, :, 1] = 0
            x[:, 0, 1] = 1
            return x, (x[:, 0, 0] > 0).float()

        for _ in range(150):
            x, y = data(64)
            logits = head(module(x)[0][:, -1]).squeeze(1)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        module.eval()
        x, y = data(512)
        right = ((head(module(x)[0][:, -1]).squeeze(1) > 0) == (y > 0)).float().mean()
    assert right > 0.9
