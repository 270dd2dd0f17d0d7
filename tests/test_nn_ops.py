"""The torch operators against NumPy loops, torch's own checks, and the promises of their docs."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="the operators are torch operators")

from torch.autograd import gradcheck, gradgradcheck

from pqrnn_native.nn import functional, ops
from pqrnn_native.nn.ops.layout import checked

Array = npt.NDArray[Any]

POOLINGS = ("f", "fo", "ifo")
GATES = {"f": "zf", "fo": "zfo", "ifo": "zifo"}
LENGTHS = (4, 0, 2, 1, 3)
STEPS = 4


# --- Slow and obvious -----------------------------------------------------------------------------


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def order(length: int, reverse: bool) -> range:
    return range(length - 1, -1, -1) if reverse else range(length)


def scan_loop(f: Array, x: Array, h0: Array | None, lengths: Any, reverse: bool) -> Array:
    h = np.zeros_like(x)
    for n in range(f.shape[0]):
        state = np.zeros(f.shape[2]) if h0 is None else h0[n]
        for t in order(int(lengths[n]), reverse):
            state = f[n, t] * state + x[n, t]
            h[n, t] = state
    return h


def pool_loop(
    gates: dict[str, Array],
    h0: Array | None,
    lengths: Any,
    reverse: bool,
    keep: Array | None = None,
) -> tuple[Array, Array, Array]:
    """h, c and the last states; `keep` marks the steps that leave a channel's state as it was."""
    z, f = gates["z"], gates["f"]
    h, c = np.zeros_like(z), np.zeros_like(z)
    last = np.zeros((z.shape[0], z.shape[2])) if h0 is None else h0.copy()
    for n in range(z.shape[0]):
        for t in order(int(lengths[n]), reverse):
            fresh = gates["i"][n, t] if "i" in gates else 1 - f[n, t]
            state = f[n, t] * last[n] + fresh * z[n, t]
            last[n] = state if keep is None else np.where(keep[n, t], last[n], state)
            c[n, t] = last[n]
            h[n, t] = gates["o"][n, t] * c[n, t] if "o" in gates else c[n, t]
    return h, c, last


def sum_taps(gates: Array, channels: int, taps: int, lengths: Any, reverse: bool) -> Array:
    """One direction's [batch, time, taps * channels] to [batch, time, channels]."""
    out = np.zeros((*gates.shape[:2], channels))
    for n in range(gates.shape[0]):
        for t in range(int(lengths[n])):
            for j in range(taps):
                row = t + j if reverse else t - taps + 1 + j
                if 0 <= row < lengths[n]:
                    out[n, t] += gates[n, row, j * channels : (j + 1) * channels]
    return out


def split_activated(p: Array, pooling: str) -> dict[str, Array]:
    names = GATES[pooling]
    parts = np.split(p, len(names), axis=-1)
    return {k: np.tanh(v) if k == "z" else sigmoid(v) for k, v in zip(names, parts, strict=True)}


def gate_pool_loop(
    gates: Array,
    normalise: Callable[[Array, int], Array],
    h0: Array | None,
    lengths: Any,
    taps: int,
    pooling: str,
    direction: str,
) -> tuple[Array, Array]:
    """h and last; normalise(p, d) of the pre-activations [batch, time, G * H] of direction d."""
    reverses = {"forward": [False], "backward": [True], "both": [False, True]}[direction]
    h, last = [], []
    for d, part in enumerate(np.split(gates, len(reverses), axis=-1)):
        p = sum_taps(part, part.shape[-1] // taps, taps, lengths, reverses[d])
        start = None if h0 is None else h0[:, d]
        activated = split_activated(normalise(p, d), pooling)
        out, _, end = pool_loop(activated, start, lengths, reverses[d])
        h.append(out)
        last.append(end)
    return np.concatenate(h, -1), np.stack(last, 1)


# --- Inputs ---------------------------------------------------------------------------------------


def valid_rows(lengths: Any, steps: int) -> Any:
    return torch.arange(steps) < torch.as_tensor(lengths).unsqueeze(1)


def offsets_of(lengths: Any) -> Any:
    return torch.cat((torch.zeros(1, dtype=torch.int64), torch.as_tensor(lengths).cumsum(0)))


def to_padded(rows: Any, lengths: Any, steps: int) -> Any:
    out = torch.zeros(len(lengths), steps, rows.shape[-1], dtype=rows.dtype)
    out[valid_rows(lengths, steps)] = rows
    return out


def uniform(rng: np.random.Generator, *shape: int, low: float = -1.0, grad: bool = False) -> Any:
    return torch.from_numpy(rng.uniform(low, 1, shape)).requires_grad_(grad)


def leaves(args: list[Any]) -> list[Any]:
    return [a for a in args if isinstance(a, torch.Tensor) and a.is_floating_point()]


def close(actual: Any, expected: Array, tolerance: float = 1e-12) -> None:
    assert tuple(actual.shape) == expected.shape
    np.testing.assert_allclose(
        actual.detach().double().numpy(), expected, rtol=tolerance, atol=tolerance
    )


class Batch:
    """Where sequences lie: padded with lengths, full, time-major, or ragged."""

    def __init__(self, layout: str) -> None:
        self.layout = layout
        self.lengths = (STEPS,) * 5 if layout in ("full", "time") else LENGTHS
        self.args: tuple[Any, Any] = (None, None)  # offsets, lengths
        if layout == "lengths":
            self.args = (None, torch.tensor(LENGTHS))
        elif layout == "ragged":
            self.args = (offsets_of(LENGTHS), None)

    def rows(self, rng: np.random.Generator, width: int, low: float = -1.0) -> Any:
        """A float64 leaf of this layout."""
        if self.layout == "ragged":
            return uniform(rng, sum(self.lengths), width, low=low, grad=True)
        if self.layout == "time":
            out = uniform(rng, STEPS, 5, width, low=low).transpose(0, 1).detach()
            return out.requires_grad_()
        return uniform(rng, 5, STEPS, width, low=low, grad=True)

    def padded(self, rows: Any) -> Array:
        rows = rows.detach()
        if self.layout == "ragged":
            rows = to_padded(rows, self.lengths, STEPS)
        return rows.double().numpy()


@pytest.fixture(params=("full", "time", "lengths", "ragged"))
def batch(request: pytest.FixtureRequest) -> Batch:
    return Batch(request.param)


def gate_pool_args(
    rng: np.random.Generator, batch: Batch, pooling: str, direction: str, taps: int, hidden: int = 2
) -> tuple[list[Any], tuple[Any, ...]]:
    """[gates, coefficients, h0, offsets, lengths, seed] and the settings up to direction."""
    directions = 1 + (direction == "both")
    channels = directions * len(GATES[pooling]) * hidden
    gates = batch.rows(rng, channels * taps)
    coefficients = uniform(rng, 3, channels, grad=True)
    h0 = uniform(rng, 5, directions, hidden, grad=True)
    return [gates, coefficients, h0, *batch.args, None], (hidden, taps, pooling, direction)


# --- Values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("with_h0", [False, True])
def test_forget_mult_is_the_loop(
    isa: str, rng: np.random.Generator, batch: Batch, reverse: bool, with_h0: bool
) -> None:
    f, x = batch.rows(rng, 19, low=0), batch.rows(rng, 19)
    h0 = uniform(rng, 5, 19) if with_h0 else None
    h = ops.forget_mult(f, x, h0, *batch.args, reverse)
    start = None if h0 is None else h0.numpy()
    expected = scan_loop(batch.padded(f), batch.padded(x), start, batch.lengths, reverse)
    close(torch.from_numpy(batch.padded(h)), expected)
    if batch.layout == "time":
        assert h.stride(0) < h.stride(1)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("layout", ["full", "time", "lengths"])
def test_qrnn_pool_is_the_loop(
    isa: str, rng: np.random.Generator, layout: str, pooling: str, reverse: bool
) -> None:
    batch = Batch(layout)
    gates = {k: batch.rows(rng, 19, low=-1 if k == "z" else 0) for k in GATES[pooling]}
    h0 = uniform(rng, 5, 19)
    h, last = functional.qrnn_pool(
        **gates, h0=h0, lengths=batch.args[1], reverse=reverse, return_state=True
    )
    arrays = {k: batch.padded(v) for k, v in gates.items()}
    expected, _, expected_last = pool_loop(arrays, h0.numpy(), batch.lengths, reverse)
    close(h, expected)
    close(last, expected_last)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("taps", [1, 2, 5])
def test_gate_pool_is_the_loop(
    isa: str, rng: np.random.Generator, batch: Batch, pooling: str, direction: str, taps: int
) -> None:
    args, settings = gate_pool_args(rng, batch, pooling, direction, taps, hidden=9)
    h, _, last = ops.gate_pool(*args, *settings, 0.0)
    mean, scale, shift = args[1].detach().numpy()
    per_direction = len(mean) // (1 + (direction == "both"))

    def normalise(p: Array, d: int) -> Array:
        here = slice(d * per_direction, (d + 1) * per_direction)
        return (p - mean[here]) * scale[here] + shift[here]

    gates, h0 = batch.padded(args[0]), args[2].detach().numpy()
    expected = gate_pool_loop(gates, normalise, h0, batch.lengths, taps, pooling, direction)
    close(torch.from_numpy(batch.padded(h)), expected[0])
    close(last, expected[1])


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize("taps", [1, 3])
def test_norm_gate_pool_is_the_loop(
    isa: str, rng: np.random.Generator, batch: Batch, pooling: str, direction: str, taps: int
) -> None:
    args, settings = gate_pool_args(rng, batch, pooling, direction, taps, hidden=9)
    coefficients = args.pop(1)
    weight, bias = coefficients[1], coefficients[2]
    h, _, last, _, moments = ops.norm_gate_pool(args[0], weight, bias, *args[1:], *settings, 0, 0.1)
    per_direction = weight.numel() // (1 + (direction == "both"))
    valid = valid_rows(batch.lengths, STEPS).numpy()
    seen = []

    def normalise(p: Array, d: int) -> Array:
        here = slice(d * per_direction, (d + 1) * per_direction)
        mean, variance = p[valid].mean(0), p[valid].var(0)
        seen.append(np.stack((mean, variance)))
        factor = weight.detach().numpy()[here] / np.sqrt(variance + 0.1)
        return (p - mean) * factor + bias.detach().numpy()[here]

    gates, h0 = batch.padded(args[0]), args[1].detach().numpy()
    expected = gate_pool_loop(gates, normalise, h0, batch.lengths, taps, pooling, direction)
    close(torch.from_numpy(batch.padded(h)), expected[0], 1e-11)
    close(last, expected[1], 1e-11)
    close(moments, np.concatenate(seen, 1), 1e-11)


@pytest.mark.parametrize("heads", [1, 3])
def test_attend_is_the_loop(isa: str, rng: np.random.Generator, batch: Batch, heads: int) -> None:
    states, logits = batch.rows(rng, 15), batch.rows(rng, heads)
    pooled, weights = ops.attend(states, 30 * logits, *batch.args)
    s, a = batch.padded(states), 30 * batch.padded(logits)
    expected, expected_weights = np.zeros((5, 15)), np.zeros_like(a)
    for n, length in enumerate(batch.lengths):
        for p in range(15):
            q = p // (15 // heads)
            e = np.exp(a[n, :length, q])
            expected_weights[n, :length, q] = e / e.sum()
            expected[n, p] = (expected_weights[n, :length, q] * s[n, :length, p]).sum()
    close(pooled, expected)
    close(torch.from_numpy(batch.padded(weights)), expected_weights)


# --- torch's own checks ---------------------------------------------------------------------------

Sample = tuple[str, Callable[[np.random.Generator], tuple[Any, ...]]]


def samples() -> Iterator[Sample]:
    """Name of an operator and what makes its arguments."""

    def forget_mult(rng: np.random.Generator, layout: str) -> tuple[Any, ...]:
        batch = Batch(layout)
        h0 = uniform(rng, 5, 3, grad=True)
        return batch.rows(rng, 3, low=0), batch.rows(rng, 3), h0, *batch.args, layout == "time"

    def forget_mult_backward(rng: np.random.Generator, layout: str) -> tuple[Any, ...]:
        f, x, h0, offsets, lengths, reverse = forget_mult(rng, layout)
        h = ops.forget_mult(f, x, h0, offsets, lengths, reverse)
        gh = torch.ones_like(h).requires_grad_()
        return gh, f, h.detach().requires_grad_(), h0, offsets, lengths, reverse

    def pool(rng: np.random.Generator, layout: str) -> tuple[Any, ...]:
        batch = Batch(layout)
        gates = [batch.rows(rng, 3, low=0) for _ in range(4)]
        if layout != "lengths":
            gates[3] = None
        h0 = uniform(rng, 5, 3, grad=True)
        return *gates, h0, batch.args[1], torch.tensor(7), 0.25, layout == "full"

    def pool_backward(rng: np.random.Generator, layout: str) -> tuple[Any, ...]:
        z, f, o, i, h0, *rest = detached(pool(rng, layout))
        h, c, last = ops.qrnn_pool(z, f, o, i, h0, *rest)
        return torch.ones_like(h), None, torch.ones_like(last), z, f, o, i, h0, c, *rest

    def gate(rng: np.random.Generator, layout: str) -> tuple[Any, ...]:
        direction, pooling = ("both", "fo") if layout == "ragged" else ("backward", "f")
        args, settings = gate_pool_args(rng, Batch(layout), pooling, direction, 2)
        return *args[:-1], torch.tensor(7), *settings, 0.25

    def gate_backward(rng: np.random.Generator, layout: str) -> tuple[Any, ...]:
        args = detached(gate(rng, layout))
        h, c, last = ops.gate_pool(*args)
        states = c if c.numel() else h
        return torch.ones_like(h), None, torch.ones_like(last), *args[:3], states, *args[3:]

    def norm(rng: np.random.Generator, layout: str) -> tuple[Any, ...]:
        gates, coefficients, *rest = gate(rng, layout)
        weight, bias = coefficients.detach()[1:]
        return gates, weight.clone().requires_grad_(), bias.clone().requires_grad_(), *rest, 1e-5

    def norm_backward(rng: np.random.Generator, layout: str) -> tuple[Any, ...]:
        args = detached(norm(rng, layout))
        h, c, last, summed, moments = ops.norm_gate_pool(*args)
        grads = (torch.ones_like(h), None, torch.ones_like(last))
        states = c if c.numel() else h
        return *grads, summed, moments, *args[1:4], states, *args[4:]

    def attend(rng: np.random.Generator, layout: str) -> tuple[Any, ...]:
        batch = Batch(layout)
        return batch.rows(rng, 4), batch.rows(rng, 2), *batch.args

    def attend_backward(rng: np.random.Generator, layout: str) -> tuple[Any, ...]:
        states, logits, *rest = detached(attend(rng, layout))
        pooled, weights = ops.attend(states, logits, *rest)
        return torch.ones_like(pooled), states, weights, *rest

    def dropout(rng: np.random.Generator, layout: str) -> tuple[Any, ...]:
        return Batch(layout).rows(rng, 4), torch.tensor(7), 0.25

    def tokens(rng: np.random.Generator, layout: str) -> tuple[Any, ...]:
        return torch.from_numpy(rng.integers(0, 256, 9, np.uint8)), torch.tensor([0, 4, 4, 9])

    def hash_tokens(rng: np.random.Generator, layout: str) -> tuple[Any, ...]:
        return *tokens(rng, layout), layout

    def expand_features(rng: np.random.Generator, layout: str) -> tuple[Any, ...]:
        return ops.hash_tokens(*tokens(rng, layout), "signed"), 40, getattr(torch, layout)

    def token_features(rng: np.random.Generator, layout: str) -> tuple[Any, ...]:
        return *tokens(rng, layout), 40, "unsigned", getattr(torch, layout)

    def ternary_linear(rng: np.random.Generator, layout: str) -> tuple[Any, ...]:
        fingerprints = ops.hash_tokens(*tokens(rng, layout), "signed")
        return fingerprints, torch.ones(8, 48, requires_grad=True)

    def sampler(make: Any, layout: str) -> Callable[[np.random.Generator], tuple[Any, ...]]:
        return lambda rng: make(rng, layout)

    for name, make, layouts in (
        ("forget_mult", forget_mult, ("time", "lengths", "ragged")),
        ("forget_mult_backward", forget_mult_backward, ("lengths", "ragged")),
        ("qrnn_pool", pool, ("full", "lengths")),
        ("qrnn_pool_backward", pool_backward, ("full", "lengths")),
        ("gate_pool", gate, ("time", "ragged")),
        ("gate_pool_backward", gate_backward, ("lengths", "ragged")),
        ("norm_gate_pool", norm, ("lengths", "ragged")),
        ("norm_gate_pool_backward", norm_backward, ("time", "ragged")),
        ("attend", attend, ("lengths", "ragged")),
        ("attend_backward", attend_backward, ("time", "ragged")),
        ("dropout", dropout, ("time", "ragged")),
        ("hash_tokens", hash_tokens, ("signed", "unsigned")),
        ("expand_features", expand_features, ("int8", "bfloat16", "int64")),
        ("token_features", token_features, ("float32", "int64")),
        ("ternary_linear", ternary_linear, ("",)),
    ):
        for layout in layouts:
            yield name, sampler(make, layout)


def detached(args: tuple[Any, ...]) -> list[Any]:
    return [a.detach() if isinstance(a, torch.Tensor) else a for a in args]


def test_samples_cover_every_operator() -> None:
    kind = type(ops.forget_mult)
    assert {k for k, v in vars(ops).items() if isinstance(v, kind)} == {k for k, _ in samples()}


@pytest.mark.parametrize(("name", "make"), list(samples()))
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_opcheck(rng: np.random.Generator, name: str, make: Any) -> None:
    torch.library.opcheck(getattr(ops, name), make(rng))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_opcheck_of_permuted_input(order: tuple[int, ...]) -> None:
    # Without neighbouring channels the kernel works on a copy; the fake must know its strides.
    f = torch.rand(3, 4, 5).permute(order).detach().requires_grad_()
    assert functional.forget_mult(f, f).shape == f.shape
    torch.library.opcheck(ops.forget_mult, (f, f, None, None, None, False))
    torch.library.opcheck(ops.qrnn_pool, (f, f, f, None, None, None, None, 0.0, False))


def check_gradients(op: Any, args: list[Any], settings: tuple[Any, ...], outputs: int) -> None:
    """gradcheck of the first outputs, over every floating argument."""
    index = [k for k, a in enumerate(args) if isinstance(a, torch.Tensor) and a.requires_grad]

    def call(*values: Any) -> Any:
        filled = list(args)
        for k, value in zip(index, values, strict=True):
            filled[k] = value
        out = op(*filled, *settings)
        if isinstance(out, torch.Tensor):
            return out
        return tuple(o for o in out[:outputs] if o.numel())

    assert index
    assert gradcheck(call, [args[k] for k in index])


@pytest.mark.parametrize("with_h0", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_of_forget_mult_of_both_orders(
    rng: np.random.Generator, batch: Batch, reverse: bool, with_h0: bool
) -> None:
    f, x = batch.rows(rng, 2, low=0), batch.rows(rng, 2)
    h0 = [uniform(rng, 5, 2, grad=True)] if with_h0 else []

    def call(f: Any, x: Any, h0: Any = None) -> Any:
        return ops.forget_mult(f, x, h0, *batch.args, reverse)

    assert gradcheck(call, (f, x, *h0))
    assert gradgradcheck(call, (f, x, *h0))


@pytest.mark.parametrize("zoneout", [0.0, 0.4])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("layout", ["time", "lengths"])
def test_gradients_of_qrnn_pool(
    rng: np.random.Generator, layout: str, pooling: str, reverse: bool, zoneout: float
) -> None:
    batch = Batch(layout)
    gates = [batch.rows(rng, 2, low=0) if k in GATES[pooling] else None for k in "zfoi"]
    h0 = uniform(rng, 5, 2, grad=True)
    args = [*gates, h0, batch.args[1], torch.tensor(3)]
    check_gradients(ops.qrnn_pool, args, (zoneout, reverse), 3)


@pytest.mark.parametrize(
    ("pooling", "direction", "taps", "zoneout"),
    [
        ("f", "forward", 1, 0.0),
        ("f", "backward", 2, 0.4),
        ("fo", "both", 3, 0.0),
        ("fo", "forward", 2, 0.4),
        ("ifo", "both", 1, 0.4),
        ("ifo", "backward", 6, 0.0),
    ],
)
@pytest.mark.parametrize("norm", [False, True])
def test_gradients_of_gate_pool(
    rng: np.random.Generator,
    batch: Batch,
    pooling: str,
    direction: str,
    taps: int,
    zoneout: float,
    norm: bool,
) -> None:
    args, settings = gate_pool_args(rng, batch, pooling, direction, taps, hidden=1)
    args[-1] = torch.tensor(3)
    if not norm:
        return check_gradients(ops.gate_pool, args, (*settings, zoneout), 3)
    weight, bias = args.pop(1).detach()[1:]
    args[1:1] = [weight.clone().requires_grad_(), bias.clone().requires_grad_()]
    return check_gradients(ops.norm_gate_pool, args, (*settings, zoneout, 0.1), 3)


@pytest.mark.parametrize("heads", [1, 2])
def test_gradients_of_attend(rng: np.random.Generator, batch: Batch, heads: int) -> None:
    args = [batch.rows(rng, 4), batch.rows(rng, heads), *batch.args]
    check_gradients(ops.attend, args, (), 1)


@pytest.mark.parametrize("name", ["qrnn_pool", "gate_pool", "norm_gate_pool", "attend"])
def test_second_derivatives_are_refused(rng: np.random.Generator, name: str) -> None:
    make = next(make for key, make in samples() if key == name)
    args = make(rng)
    output = getattr(ops, name)(*args)[0]
    wanted = [a for a in args if isinstance(a, torch.Tensor) and a.requires_grad]
    first = torch.autograd.grad(output.square().sum(), wanted, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivatives; forget_mult has them"):
        torch.autograd.grad(first[0].sum(), wanted[0])


# --- torch.compile --------------------------------------------------------------------------------


@pytest.fixture
def compiler() -> Iterator[None]:
    if os.name == "nt" or not any(map(shutil.which, ("g++", "c++", "clang++"))):
        pytest.skip("torch.compile needs a C++ compiler")
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def check_compiled(function: Callable[..., Any], args: list[Any]) -> None:
    def both(call: Callable[..., Any]) -> tuple[Any, ...]:
        out = call(*args)
        return out, *torch.autograd.grad(out.square().sum(), leaves(args))

    for got, wanted in zip(
        both(torch.compile(function, fullgraph=True)), both(function), strict=True
    ):
        assert wanted.abs().max() > 0
        torch.testing.assert_close(got, wanted)


@pytest.mark.filterwarnings("ignore")  # torch's own
def test_compiled_scan_equals_eager(compiler: None, rng: np.random.Generator) -> None:
    f, x = (uniform(rng, 3, 7, 5, grad=True) for _ in range(2))
    lengths = torch.tensor([7, 0, 3])

    def function(f: Any, x: Any) -> Any:
        h = functional.forget_mult(f.sigmoid(), x, lengths=lengths, reverse=True)
        return functional.qrnn_pool(h, f.sigmoid(), x.sigmoid(), lengths=lengths)

    check_compiled(function, [f, x])


@pytest.mark.filterwarnings("ignore")  # torch's own
def test_compiled_layer_equals_eager(compiler: None, rng: np.random.Generator) -> None:
    offsets = offsets_of(LENGTHS)
    rows, weight = uniform(rng, 10, 6, grad=True), uniform(rng, 2 * 2 * 3 * 4, 6, grad=True)
    scale, shift = (uniform(rng, 2 * 3 * 4, grad=True) for _ in range(2))

    def function(rows: Any, weight: Any, scale: Any, shift: Any) -> Any:
        gates = torch.nn.functional.linear(rows, weight)
        h = ops.norm_gate_pool(
            gates, scale, shift, None, offsets, None, None, 4, 2, "fo", "both", 0.0, 1e-5
        )[0]
        return ops.attend(h, h[:, :2] + 0, offsets, None)[0]

    check_compiled(function, [rows, weight, scale, shift])


# --- bfloat16 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["forget_mult", "qrnn_pool"])
def test_autocast_runs_activated_gates_in_float32(rng: np.random.Generator, name: str) -> None:
    f, x = (uniform(rng, 2, 9, 5, low=0).float() for _ in range(2))
    op = getattr(functional, name)
    with torch.autocast("cpu", torch.bfloat16):
        got = op(x.bfloat16(), f) if name == "qrnn_pool" else op(f, x.bfloat16())
    rounded = x.bfloat16().double().numpy()
    gates = f.double().numpy()
    if name == "qrnn_pool":
        expected, _, _ = pool_loop({"z": rounded, "f": gates}, None, (9, 9), False)
    else:
        expected = scan_loop(gates, rounded, None, (9, 9), False)
    assert got.dtype == torch.float32
    close(got, expected, 1e-5)


def test_autocast_gates_and_their_gradients_stay_close(rng: np.random.Generator) -> None:
    rows, weight = uniform(rng, 5, 9, 8).float(), uniform(rng, 3 * 6, 8).float()
    weight.requires_grad_()
    coefficients = torch.ones(3, 3 * 6) * torch.tensor([[0.0], [1.0], [0.0]])

    def run() -> tuple[Any, Any]:
        gates = torch.nn.functional.linear(rows, weight)
        h = ops.gate_pool(gates, coefficients, None, None, None, None, 6, 1, "fo", "forward", 0.0)[
            0
        ]
        return h, torch.autograd.grad(h.float().square().sum(), weight)[0]

    with torch.autocast("cpu", torch.bfloat16):
        h, gradient = run()
    wanted, wanted_gradient = run()
    assert (h.dtype, wanted.dtype, gradient.dtype) == (torch.bfloat16, *[torch.float32] * 2)
    torch.testing.assert_close(h.float(), wanted, atol=0.02, rtol=0.02)
    scale = wanted_gradient.abs().max().item()
    assert (gradient - wanted_gradient).abs().max().item() < 0.03 * scale
    assert scale > 0.1


def test_bfloat16_is_storage_only(isa: str, rng: np.random.Generator) -> None:
    """One rounding of the output: a state of 8 bits would drift away over 300 steps."""
    f, x = uniform(rng, 2, 300, 19, low=0.95).bfloat16(), uniform(rng, 2, 300, 19).bfloat16()
    arrays = f.double().numpy(), x.double().numpy()
    h = functional.forget_mult(f, x)
    assert h.dtype == torch.bfloat16
    close(h, scan_loop(*arrays, None, (300, 300), False), 2**-8)
    c = functional.qrnn_pool(x, f, f)
    gates = {"z": arrays[1], "f": arrays[0], "o": arrays[0]}
    expected = pool_loop(gates, None, (300, 300), False)[0]
    np.testing.assert_allclose(c.double().numpy(), expected, rtol=2**-8, atol=1e-5)


def test_bfloat16_gates_and_gradients_stay_close_to_float32(
    isa: str, rng: np.random.Generator
) -> None:
    gates = uniform(rng, 31, 2 * 2 * 3 * 9).bfloat16()
    coefficients = uniform(rng, 3, 2 * 3 * 9).float()
    offsets = torch.tensor([0, 20, 20, 31])

    def run(gates: Any) -> tuple[Any, Any]:
        gates = gates.requires_grad_()
        h = ops.gate_pool(gates, coefficients, None, offsets, None, None, 9, 2, "fo", "both", 0.0)[
            0
        ]
        return h.detach(), torch.autograd.grad(h.float().square().sum(), gates)[0]

    h, gradient = run(gates)
    wanted, wanted_gradient = run(gates.detach().float())
    assert h.dtype == gradient.dtype == torch.bfloat16
    torch.testing.assert_close(h.float(), wanted, rtol=2**-8, atol=1e-5)
    error = (gradient.float() - wanted_gradient).abs().max().item()
    assert error < 0.02 * wanted_gradient.abs().max().item()


# --- Bad input ------------------------------------------------------------------------------------


def ones(*shape: int, dtype: Any = torch.float32) -> Any:
    return torch.ones(*shape, dtype=dtype)


def call_scan(f: Any = None, x: Any = None, h0: Any = None, offsets: Any = None, **k: Any) -> Any:
    f = ones(2, 3, 4) if f is None else f
    return ops.forget_mult(f, ones(2, 3, 4) if x is None else x, h0, offsets, k.get("n"), False)


def call_gates(gates: Any = None, coefficients: Any = None, **k: Any) -> Any:
    return ops.gate_pool(
        ones(2, 3, 12) if gates is None else gates,
        ones(3, 12) if coefficients is None else coefficients,
        k.get("h0"),
        k.get("offsets"),
        k.get("lengths"),
        k.get("seed"),
        k.get("hidden", 4),
        k.get("taps", 1),
        k.get("pooling", "fo"),
        k.get("direction", "forward"),
        k.get("zoneout", 0.0),
    )


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: call_scan(x=ones(2, 3, 5)), ValueError, r"x must be .*\(2, 3, 4\), got \(2, 3, 5\)"),
    (lambda: call_scan(x=ones(2, 3, 4).double()), TypeError, "x must be torch.float32.*float64"),
    (lambda: call_scan(ones(2, 3, 4).half(), ones(2, 3, 4).half()), TypeError, "float16"),
    (lambda: call_scan(ones(4), ones(4)), ValueError, r"2 or 3 dimensions, got \(4,\)"),
    (lambda: call_scan(ones(6, 4), ones(6, 4)), ValueError, r"offsets go with ragged.*\(6, 4\)"),
    (lambda: call_scan(h0=ones(4)), ValueError, r"h0 must be of shape \(2, 4\), got \(4,\)"),
    (lambda: call_scan(h0=ones(2, 4).double()), TypeError, "h0 must be torch.float32.*float64"),
    (lambda: call_scan(n=torch.tensor([3, 4])), ValueError, r"in \[0, 3\], got lengths\[1\] = 4"),
    (lambda: call_scan(n=torch.tensor([-1, 3])), ValueError, r"lengths\[0\] = -1"),
    (lambda: call_scan(n=torch.tensor([3])), ValueError, r"lengths must be of shape \(2,\)"),
    (lambda: call_scan(n=torch.tensor([3, 3]).int()), TypeError, "lengths must be int64.*int32"),
    (
        lambda: functional.forget_mult(ones(1, 3, 4), ones(1, 3, 4), lengths=ones(1)),
        TypeError,
        "lengths must be integers, got torch.float32",
    ),
    (
        lambda: call_scan(ones(6, 4), ones(6, 4), None, torch.tensor([0, 4])),
        ValueError,
        "offsets must end at the number of rows 6, got 4",
    ),
    (
        lambda: call_scan(ones(6, 4), ones(6, 4), None, torch.tensor([1, 6])),
        ValueError,
        r"offsets\[0\] = 1",
    ),
    (
        lambda: call_scan(ones(6, 4), ones(6, 4), None, torch.tensor([0, 5, 4, 6])),
        ValueError,
        r"not decrease, got offsets\[2\] = 4",
    ),
    (
        lambda: call_scan(ones(6, 4), ones(6, 4), None, torch.tensor([0, 1 << 62, 6])),
        ValueError,
        r"offsets",
    ),
    (
        lambda: call_scan(ones(6, 4), ones(6, 4), None, torch.zeros(0, dtype=torch.int64)),
        ValueError,
        "offsets must have n",
    ),
    (
        lambda: call_scan(ones(6, 4), ones(6, 4), None, torch.tensor([0, 6]), n=torch.tensor([6])),
        ValueError,
        "lengths must be None when offsets are given",
    ),
    (
        lambda: functional.qrnn_pool(ones(2, 3, 4), ones(2, 3, 4), i=ones(2, 3, 4)),
        ValueError,
        "o must be given when i is",
    ),
    (
        lambda: functional.qrnn_pool(ones(2, 3, 4), ones(2, 2, 4)),
        ValueError,
        r"f must be of shape \(2, 3, 4\), got \(2, 2, 4\)",
    ),
    (
        lambda: functional.qrnn_pool(ones(2, 3, 4), ones(2, 3, 4), zoneout=1.0),
        ValueError,
        r"zoneout must be in \[0, 1\), got 1.0",
    ),
    (lambda: call_gates(zoneout=-0.5), ValueError, r"zoneout must be in \[0, 1\), got -0.5"),
    (lambda: call_gates(zoneout=float("nan")), ValueError, "zoneout must be .* got nan"),
    (lambda: call_gates(zoneout=0.5), ValueError, "zoneout=0.5 needs a seed"),
    (lambda: call_gates(taps=2), ValueError, "gates must have 24 channels.*got 12"),
    (lambda: call_gates(hidden=0), ValueError, "hidden and taps must be at least 1, got 0"),
    (lambda: call_gates(pooling="of"), ValueError, "pooling must be one of.*'of'"),
    (lambda: call_gates(direction="up"), ValueError, "direction must be .*'up'"),
    (lambda: call_gates(coefficients=ones(2, 12)), ValueError, r"coefficients must .*\(2, 12\)"),
    (
        lambda: call_gates(coefficients=ones(3, 12).double()),
        ValueError,
        "coefficients must be torch.float32.*got torch.float64",
    ),
    (lambda: call_gates(h0=ones(2, 4)), ValueError, r"h0 must be of shape \(2, 1, 4\)"),
    (
        lambda: ops.attend(ones(2, 3, 4), ones(2, 3, 3), None, None),
        ValueError,
        "divide the width 4, got 3",
    ),
    (
        lambda: ops.attend(ones(2, 3, 4), ones(2, 2, 2), None, None),
        ValueError,
        r"logits must be .*\(2, 2, 2\)",
    ),
    (
        lambda: checked(torch.empty(2, 3, device="meta")),
        ValueError,
        "on one device, the CPU.*meta",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_bad_input_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# --- Zoneout --------------------------------------------------------------------------------------


def kept(rng: np.random.Generator, *shape: int, seed: int, rate: float) -> Array:
    """The mask itself: with f = 0 a state is either the step's candidate or the one before."""
    z = uniform(rng, *shape)
    _, c, _ = ops.qrnn_pool(z, z * 0, z, None, z[:, 0] + 9, None, torch.tensor(seed), rate, False)
    fresh = (c == z).numpy()
    before = torch.cat(((z[:, :1] + 9), c[:, :-1]), 1)
    assert (fresh | (c == before).numpy()).all()
    return ~fresh


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_zoneout_keeps_at_its_rate_and_independently(
    isa: str, rng: np.random.Generator, rate: float
) -> None:
    keep = kept(rng, 16, 50, 64, seed=1, rate=rate).astype(float)
    other = kept(rng, 16, 50, 64, seed=2, rate=rate).astype(float)
    variance = rate * (1 - rate)
    assert abs(keep.mean() - rate) < 5 * (variance / keep.size) ** 0.5
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        count = keep.size / keep.shape[axis]
        assert np.abs(keep.mean(others) - rate).max() < 5 * (variance / count) ** 0.5
    for first, second in (
        (keep[1:], keep[:-1]),
        (keep[:, 1:], keep[:, :-1]),
        (keep[:, :, 1:], keep[:, :, :-1]),
        (keep, other),
    ):
        correlation = ((first - rate) * (second - rate)).mean() / variance
        assert abs(correlation) < 5 / first.size**0.5


@pytest.mark.parametrize("pooling", POOLINGS)
def test_zoneout_of_pooling_is_the_loop_with_the_mask(
    isa: str, rng: np.random.Generator, pooling: str
) -> None:
    keep = kept(rng, 3, 40, 19, seed=5, rate=0.3)
    gates = {k: uniform(rng, 3, 40, 19, low=0) for k in GATES[pooling]}
    h0 = uniform(rng, 3, 19)
    ordered = [gates.get(k) for k in "zfoi"]
    h, _, last = ops.qrnn_pool(*ordered, h0, None, torch.tensor(5), 0.3, False)
    arrays = {k: v.numpy() for k, v in gates.items()}
    expected, _, expected_last = pool_loop(arrays, h0.numpy(), (40,) * 3, False, keep)
    close(h, expected)
    close(last, expected_last)


@pytest.fixture
def keep_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_zoneout_depends_on_the_seed_alone(keep_threads: None, rng: np.random.Generator) -> None:
    """Not on threads, on memory order, on padded or ragged, nor on the batch's other sequences."""
    lengths = torch.tensor([40, 0, 17, 39] * 4)
    gates = uniform(rng, 16, 40, 2 * 2 * 3 * 16).float()
    coefficients = uniform(rng, 3, 2 * 3 * 16).float()
    assert gates.numel() >= 1 << 16, "too small for threads"
    settings = (torch.tensor(11), 16, 2, "fo", "both", 0.4)
    valid = valid_rows(lengths, 40)
    torch.set_num_threads(1)
    plain, _, last = ops.gate_pool(gates, coefficients, None, None, lengths, *settings)
    without, _, _ = ops.gate_pool(
        gates, coefficients, None, None, lengths, None, *settings[1:-1], 0.0
    )
    assert (plain != without).any()
    torch.set_num_threads(4)
    threaded, _, _ = ops.gate_pool(gates, coefficients, None, None, lengths, *settings)
    assert torch.equal(threaded, plain)
    time_major = gates.transpose(0, 1).contiguous().transpose(0, 1)
    moved, _, moved_last = ops.gate_pool(time_major, coefficients, None, None, lengths, *settings)
    assert torch.equal(moved, plain)
    assert torch.equal(moved_last, last)
    ragged, _, ragged_last = ops.gate_pool(
        gates[valid], coefficients, None, offsets_of(lengths), None, *settings
    )
    assert torch.equal(ragged, plain[valid])
    assert torch.equal(ragged_last, last)


def test_zoneout_follows_the_random_state_of_torch(rng: np.random.Generator) -> None:
    z, f = uniform(rng, 2, 9, 5), uniform(rng, 2, 9, 5, low=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = (functional.qrnn_pool(z, f, zoneout=0.5) for _ in range(2))
        torch.manual_seed(0)
        again = functional.qrnn_pool(z, f, zoneout=0.5)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("zoneout", [1 - 1e-12, 1e-12])
def test_zoneout_rates_near_the_ends_work(rng: np.random.Generator, zoneout: float) -> None:
    z = uniform(rng, 2, 9, 5)
    h = functional.qrnn_pool(z, z * 0, zoneout=zoneout)
    close(h, np.zeros((2, 9, 5)) if zoneout > 0.5 else z.numpy())


# --- Padding and emptiness ------------------------------------------------------------------------


def padded_cases(rng: np.random.Generator) -> dict[str, tuple[Any, list[Any], list[Any]]]:
    """Per operator: a call, its padded tensors and its other differentiable ones."""
    lengths = torch.tensor(LENGTHS)
    rows = [uniform(rng, 5, STEPS, 3, low=0) for _ in range(4)]
    h0 = uniform(rng, 5, 3)
    gates, channels = uniform(rng, 5, STEPS, 2 * 3 * 4 * 3), 2 * 4 * 3
    coefficients, h1 = uniform(rng, 3, channels), uniform(rng, 5, 2, 3)
    settings = (3, 3, "ifo", "both", 0.25)
    seed = torch.tensor(2)
    return {
        "forget_mult": (
            lambda f, x, h: (ops.forget_mult(f, x, h, None, lengths, False),),
            rows[:2],
            [h0],
        ),
        "qrnn_pool": (
            lambda *a: ops.qrnn_pool(*a, lengths, seed, 0.25, True),
            rows,
            [h0],
        ),
        "gate_pool": (
            lambda g, c, h: ops.gate_pool(g, c, h, None, lengths, seed, *settings),
            [gates],
            [coefficients, h1],
        ),
        "norm_gate_pool": (
            lambda g, w, b, h: ops.norm_gate_pool(g, w, b, h, None, lengths, seed, *settings, 0.1)[
                :3
            ],
            [gates],
            [coefficients[0], coefficients[1], h1],
        ),
        "attend": (
            lambda s, a: ops.attend(s, a, None, lengths),
            [rows[0], rows[1][..., :1].contiguous()],
            [],
        ),
    }


@pytest.mark.parametrize("name", "forget_mult qrnn_pool gate_pool norm_gate_pool attend".split())
@pytest.mark.parametrize("time_major", [False, True])
def test_padding_is_neither_read_nor_left_undefined(
    isa: str, rng: np.random.Generator, name: str, time_major: bool
) -> None:
    call, padded, others = padded_cases(rng)[name]
    padding = ~valid_rows(LENGTHS, STEPS)

    def run(fill: float) -> tuple[list[Any], list[Any]]:
        args = []
        for value in padded:
            value = value.clone()
            value[padding] = fill
            if time_major:
                value = value.transpose(0, 1).contiguous().transpose(0, 1)
            args.append(value.requires_grad_())
        args += [value.clone().requires_grad_() for value in others]
        outputs = [o for o in call(*args) if o.requires_grad]
        incoming = [torch.full_like(o, 0.5) for o in outputs]
        for g in incoming:
            if g.shape[:2] == padding.shape and g.dim() == 3 and g.shape[1] == STEPS:
                g[padding] = fill
        return outputs, list(torch.autograd.grad(outputs, args, incoming))

    outputs, gradients = run(float("nan"))
    clean_outputs, clean_gradients = run(0.0)
    assert any(g.abs().max() > 0 for g in clean_gradients)
    for got, wanted in zip(outputs + gradients, clean_outputs + clean_gradients, strict=True):
        assert torch.equal(got, wanted)
    on_rows = [v for v in outputs if v.shape[:2] == (5, STEPS)] + gradients[: len(padded)]
    assert all((v[padding] == 0).all() for v in on_rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    ("shape", "offsets", "lengths"),
    [
        ((0, 4), None, None),
        ((3, 0), None, None),
        ((3, 4), None, [0, 0, 0]),
        ((0,), [0], None),
        ((0,), [0, 0, 0, 0], None),
    ],
)
def test_empty_batches_and_sequences(
    isa: str, dtype: Any, shape: tuple[int, ...], offsets: Any, lengths: Any
) -> None:
    offsets = None if offsets is None else torch.tensor(offsets)
    lengths = None if lengths is None else torch.tensor(lengths)
    count = shape[0] if offsets is None else len(offsets) - 1
    real = torch.float64 if dtype == torch.float64 else torch.float32
    rows, gates = ones(*shape, 4, dtype=dtype), ones(*shape, 2 * 2 * 3 * 4, dtype=dtype)
    start, both = ones(count, 4, dtype=dtype), ones(count, 2, 4, dtype=dtype)
    for value in (rows, gates, start, both):
        value.requires_grad_()
    coefficients = ones(3, 2 * 3 * 4, dtype=real).requires_grad_()
    settings = (4, 2, "fo", "both", 0.0)

    h = ops.forget_mult(rows, rows, start, offsets, lengths, False)
    assert h.shape == rows.shape
    assert not h.any()
    for gradient in torch.autograd.grad(h.sum(), (rows, start)):
        assert not gradient.any()

    h, _, last = ops.gate_pool(gates, coefficients, both, offsets, lengths, None, *settings)
    assert h.shape == (*shape, 8)
    assert torch.equal(last, both)
    for gradient in torch.autograd.grad(h.sum(), (gates, coefficients, both)):
        assert not gradient.any()
    _, _, last = ops.gate_pool(gates, coefficients, both, offsets, lengths, None, *settings)
    (gradient,) = torch.autograd.grad(last.sum(), both)
    assert torch.equal(gradient, torch.ones_like(both))

    h, _, last, _, moments = ops.norm_gate_pool(
        gates, coefficients[1], coefficients[2], both, offsets, lengths, None, *settings, 1e-5
    )
    assert not h.any()
    assert torch.equal(last, both)
    assert not moments.any()
    for gradient in torch.autograd.grad(h.sum() + last.sum(), (gates, coefficients)):
        assert not gradient.any()

    pooled, weights = ops.attend(rows, rows[..., :2], offsets, lengths)
    assert pooled.shape == (count, 4)
    assert not pooled.any()
    assert weights.shape == (*shape, 2)
    (gradient,) = torch.autograd.grad(pooled.sum(), rows)
    assert not gradient.any()


def test_large_outputs_bypass_the_cache_unharmed(isa: str, rng: np.random.Generator) -> None:
    """Outputs of 8 MiB and more are written by streaming stores, into memory that is reused."""
    del isa
    shape = (16, 300, 515)  # 9.4 MiB; neither time nor width is a multiple of a register
    f, x, gh = (rng.uniform(0.1, 0.9, shape).astype(np.float32) for _ in range(3))
    for _ in range(2):  # the second time in the first one's memory
        tf, tx = (torch.from_numpy(a).requires_grad_() for a in (f, x))
        h = ops.forget_mult(tf, tx, None, None, None, False)
        h.backward(torch.from_numpy(gh))
        state = np.zeros((16, 515))
        expected = np.empty(shape)
        for t in range(300):
            expected[:, t] = state = f[:, t] * state + x[:, t]
        carry = np.zeros((16, 515))
        for t in reversed(range(300)):
            carry = gh[:, t] + carry
            before = expected[:, t - 1] if t else np.zeros((16, 515))
            np.testing.assert_allclose(tx.grad[:, t], carry, rtol=2e-5)
            np.testing.assert_allclose(tf.grad[:, t], carry * before, rtol=2e-5, atol=1e-7)
            carry = f[:, t] * carry
        np.testing.assert_allclose(h.detach().numpy(), expected, rtol=2e-5)
