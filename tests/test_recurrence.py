"""The recurrence kernels on every instruction set, against float64 loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="the operators are torch operators")

import itertools

from pqrnn_native import _core
from pqrnn_native.nn import functional, ops
from pqrnn_native.reference import recurrence as twin

Array = npt.NDArray[Any]

WIDTHS = [1, 15, 16, 17, 31, 33, 64, 65, 97]  # around register widths
LENGTHS = torch.tensor([0, 1, 2, 9, 16, 17])
STEPS = 17
GATES = {"f": "zf", "fo": "zfo", "ifo": "zifo"}  # in memory order
# Of |expected| + 1; bfloat16 outputs have 8 bits.
TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 2**-8, torch.float64: 1e-13}
DTYPES = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float64], ids=["f32", "bf16", "f64"]
)
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "batch-major": lambda x: x,
    "time-major": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "part": lambda x: torch.nn.functional.pad(x, (3, 2, 1, 0, 0, 1))[:-1, 1:, 3:-2],
}


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def random(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, low: float = -2.0) -> Any:
    return torch.from_numpy(rng.uniform(low, 1.0, shape)).to(dtype)


def poison_padding(x: Any, lengths: Any = LENGTHS) -> Any:
    x = x.clone()
    x[torch.arange(x.shape[1]) >= lengths[:, None]] = float("nan")
    return x


def check(actual: Any, expected: Array, dtype: Any) -> None:
    assert actual.dtype == dtype
    np.testing.assert_allclose(
        actual.double().numpy(), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
    )


def per_sequence(
    function: Callable[..., Array], tensors: list[Any], h0: Any, lengths: Any = LENGTHS
) -> Array:
    """Twin results of each sequence without its padding, zeros in the padding."""
    out = np.zeros(tensors[0].shape)
    for n, length in enumerate(lengths.tolist()):
        parts = [x[n, :length].double().numpy() for x in tensors]
        out[n, :length] = function(*parts, h0=None if h0 is None else h0[n].double().numpy())
    return out


# --- Scan -----------------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("width", WIDTHS)
def test_scan(isa: str, width: int, reverse: bool, dtype: Any, rng: np.random.Generator) -> None:
    shape = (len(LENGTHS), STEPS, width)
    f, x = random(rng, shape, dtype, 0.0), random(rng, shape, dtype)
    for h0 in (None, random(rng, (len(LENGTHS), width), dtype)):
        expected = per_sequence(
            lambda f, x, h0: twin.forget_mult(f, x, h0, reverse=reverse), [f, x], h0
        )
        h = functional.forget_mult(
            poison_padding(f), poison_padding(x), h0, lengths=LENGTHS, reverse=reverse
        )
        check(h, expected, dtype)


@pytest.mark.parametrize("name", LAYOUTS)
def test_scan_layouts_agree_bit_for_bit(isa: str, name: str, rng: np.random.Generator) -> None:
    shape = (len(LENGTHS), STEPS, 33)
    f, x = random(rng, shape, torch.float32, 0.0), random(rng, shape, torch.float32)
    expected = functional.forget_mult(f, x, lengths=LENGTHS)
    h = functional.forget_mult(LAYOUTS[name](f), LAYOUTS[name](x), lengths=LENGTHS)
    assert torch.equal(h, expected)
    assert name != "time-major" or h.transpose(0, 1).is_contiguous()


def test_scan_of_mixed_layouts(rng: np.random.Generator) -> None:
    shape = (len(LENGTHS), STEPS, 33)
    f, x = random(rng, shape, torch.float32, 0.0), random(rng, shape, torch.float32)
    h = functional.forget_mult(LAYOUTS["time-major"](f), LAYOUTS["part"](x))
    assert torch.equal(h, functional.forget_mult(f, x))
    # A stride of 0: every channel reads the same memory.
    expanded = functional.forget_mult(f[:, :, :1].expand(shape), x)
    assert torch.equal(expanded, functional.forget_mult(f[:, :, :1].repeat(1, 1, 33), x))


def scan_loop(f: Any, x: Any, h0: Any, lengths: Any, reverse: bool) -> Any:
    """The scan in torch operations that know their own derivatives."""
    rows = []
    for n, length in enumerate(lengths.tolist()):
        state = h0[n]
        steps = {}
        for t in range(length - 1, -1, -1) if reverse else range(length):
            state = f[n, t] * state + x[n, t]
            steps[t] = state
        rows += [steps[t] for t in range(length)]
        rows += [torch.zeros_like(state)] * (f.shape[1] - length)
    return torch.stack(rows).view_as(f)


@DTYPES
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_scan_gradients(isa: str, reverse: bool, dtype: Any, rng: np.random.Generator) -> None:
    for width in (1, 16, 33, 97):
        shape = (len(LENGTHS), STEPS, width)
        f, x, gh = (random(rng, shape, dtype, low) for low in (0.0, -2.0, -2.0))
        h0 = random(rng, (len(LENGTHS), width), dtype)
        wanted = [t.double().clone().requires_grad_() for t in (f, x, h0)]
        exact = scan_loop(*wanted, LENGTHS, reverse)
        exact.backward(gh.double())
        # bfloat16 kernels see the stored h, so give the loop's rounded one as well
        h = exact.detach().to(dtype)
        gf, gx, gh0 = ops.forget_mult_backward(
            poison_padding(gh),
            poison_padding(f),
            poison_padding(h),
            h0,
            None,
            LENGTHS,
            reverse,
        )
        scale = 8 if dtype == torch.bfloat16 else 1
        for actual, expected in zip((gf, gx, gh0), wanted, strict=True):
            np.testing.assert_allclose(
                actual.double().numpy(),
                expected.grad.numpy(),
                rtol=scale * TOLERANCE[dtype],
                atol=scale * TOLERANCE[dtype],
            )


def test_scan_of_nothing(isa: str) -> None:
    for shape in ((0, 5, 3), (2, 0, 3), (2, 5, 0)):
        f = torch.zeros(shape, requires_grad=True)
        h = functional.forget_mult(f, f)
        assert h.shape == shape
        h.sum().backward()
        assert f.grad.shape == shape


@DTYPES
def test_large_scan_streams_and_uses_memory_again(
    isa: str, dtype: Any, rng: np.random.Generator
) -> None:
    # More than 8 MiB of each output (the stores that bypass the cache) and of 4 MiB (recycled
    # memory); 1030 channels are two blocks, whose rows start at odd places.
    width = 1030
    steps = (9 << 20) // (2 * width * torch.empty(0, dtype=dtype).element_size())
    f = random(rng, (2, steps, width), dtype, 0.0)
    x, gh = (random(rng, (2, steps, width), dtype) for _ in range(2))
    lengths = torch.tensor([steps, steps - 3])
    h = np.zeros(f.shape)
    gx = np.zeros(f.shape)
    f_, x_, gh_ = (t.double().numpy() for t in (f, x, gh))
    for n, length in enumerate(lengths.tolist()):
        for t in range(length):
            h[n, t] = f_[n, t] * h[n, t - 1] * (t > 0) + x_[n, t]
        carry = np.zeros(width)
        for t in range(length - 1, -1, -1):
            gx[n, t] = gh_[n, t] + carry
            carry = f_[n, t] * gx[n, t]
    for _ in range(2):
        out = functional.forget_mult(f, x, lengths=lengths)
        check(out, h, dtype)
        grads = ops.forget_mult_backward(gh, f, out, None, None, lengths, False)
        tolerance = TOLERANCE[dtype] * (8 if dtype == torch.bfloat16 else 1)
        np.testing.assert_allclose(grads[1].double(), gx, rtol=tolerance, atol=tolerance)
        out.fill_(float("nan"))  # what the next round finds in its memory
        for grad in grads:
            grad.fill_(float("nan"))
        del out, grads, grad


def test_free_blocks_are_bounded_and_can_be_dropped() -> None:
    f = torch.zeros(1, 1, 20 << 20)
    kept = [functional.forget_mult(f, f) for _ in range(5)]  # 80 MiB each
    del kept
    assert 0 < _core.free_block_bytes() <= 256 << 20
    _core.drop_free_blocks()
    assert _core.free_block_bytes() == 0


# --- Pooling of activated gates -------------------------------------------------------------------


def pool_twin(names: str, keep: Array | None = None, reverse: bool = False) -> Any:
    def run(*gates: Array, h0: Array | None) -> Array:
        return twin.qrnn_pool(
            **dict(zip(names, gates, strict=True)), h0=h0, reverse=reverse, keep=keep
        )[0]

    return run


def gates_of(rng: np.random.Generator, names: str, shape: tuple[int, ...], dtype: Any) -> list[Any]:
    return [random(rng, shape, dtype, -1.0 if name == "z" else 0.0) for name in names]


@DTYPES
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("pooling", ops.POOLINGS)
def test_pool(isa: str, pooling: str, reverse: bool, dtype: Any, rng: np.random.Generator) -> None:
    names = GATES[pooling]
    for width in WIDTHS:
        gates = gates_of(rng, names, (len(LENGTHS), STEPS, width), dtype)
        for h0 in (None, random(rng, (len(LENGTHS), width), dtype)):
            expected = per_sequence(pool_twin(names, reverse=reverse), gates, h0)
            poisoned = dict(zip(names, map(poison_padding, gates), strict=True))
            h, last = functional.qrnn_pool(
                **poisoned, h0=h0, lengths=LENGTHS, reverse=reverse, return_state=True
            )
            check(h, expected, dtype)
            states = per_sequence(
                lambda *g, h0: twin.qrnn_pool(
                    **dict(zip(names, g, strict=True)), h0=h0, reverse=reverse
                )[1],
                gates,
                h0,
            )
            for n, length in enumerate(LENGTHS.tolist()):
                end = 0 if reverse else length - 1
                start = 0 if h0 is None else h0[n].double().numpy()
                check(last[n], states[n, end] if length else start + np.zeros(width), dtype)


@pytest.mark.parametrize("pooling", ops.POOLINGS)
def test_pool_gradients_of_floats_are_those_of_doubles(
    isa: str, pooling: str, rng: np.random.Generator
) -> None:
    # test_nn_ops.py compares the double kernels with finite differences.
    names = GATES[pooling]
    shape = (len(LENGTHS), STEPS, 97)
    gates = gates_of(rng, names, shape, torch.float32)
    h0 = random(rng, (len(LENGTHS), 97), torch.float32)
    gh, glast = random(rng, shape, torch.float32), random(rng, h0.shape, torch.float32)
    results = []
    for dtype in (torch.float32, torch.float64):
        leaves = [poison_padding(g).to(dtype).requires_grad_() for g in gates]
        leaves.append(h0.to(dtype, copy=True).requires_grad_())
        h, last = functional.qrnn_pool(
            **dict(zip(names, leaves[:-1], strict=True)),
            h0=leaves[-1],
            lengths=LENGTHS,
            return_state=True,
        )
        torch.autograd.backward((h, last), (gh.to(dtype), glast.to(dtype)))
        results.append([leaf.grad for leaf in leaves])
    for single, double in zip(*results, strict=True):
        check(single, double.numpy(), torch.float32)


# --- Pooling of packed pre-activations ------------------------------------------------------------


def packed_gates(
    gates: Array, pooling: str, direction: str, taps: int, hidden: int, coefficients: Array
) -> list[tuple[dict[str, Array], bool]]:
    """Per direction the activated gates of one sequence's rows, and whether it runs backward."""
    directions = ["forward", "backward"] if direction == "both" else [direction]
    names = GATES[pooling]
    split = gates.reshape(len(gates), len(directions), taps, len(names), hidden)
    mean, scale, shift = coefficients.reshape(3, len(directions), len(names), hidden)
    out = []
    for d, name in enumerate(directions):
        reverse = name == "backward"
        p = np.zeros((len(gates), len(names), hidden))
        for t in range(len(gates)):
            for j in range(taps):
                source = t + j if reverse else t - (taps - 1) + j
                if 0 <= source < len(gates):
                    p[t] += split[source, d, j]
        p = (p - mean[d]) * scale[d] + shift[d]
        values = {
            gate: np.tanh(p[:, g]) if gate == "z" else twin.sigmoid(p[:, g])
            for g, gate in enumerate(names)
        }
        out.append((values, reverse))
    return out


def gate_pool_twin(
    gates: Array,
    coefficients: Array,
    h0: Array,
    seed: int,
    zoneout: float,
    *,
    offsets: list[int],
    pooling: str,
    direction: str,
    taps: int,
    hidden: int,
) -> Array:
    out = []
    for n, (begin, end) in enumerate(itertools.pairwise(offsets)):
        columns = []
        for d, (values, reverse) in enumerate(
            packed_gates(gates[begin:end], pooling, direction, taps, hidden, coefficients)
        ):
            keep = twin.zoneout_mask(seed, zoneout, n, d, end - begin, hidden)
            columns.append(twin.qrnn_pool(**values, h0=h0[n, d], reverse=reverse, keep=keep)[0])
        out.append(np.concatenate(columns, 1))
    return np.concatenate(out)


@DTYPES
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("pooling", ops.POOLINGS)
def test_gate_pool(
    isa: str, pooling: str, direction: str, dtype: Any, rng: np.random.Generator
) -> None:
    offsets = [0, 3, 3, 4, 11, 20, 22, 23, 30, 31, 34]  # 10 sequences: more than one group
    directions = 2 if direction == "both" else 1
    real = torch.float64 if dtype == torch.float64 else torch.float32
    for taps, hidden in ((1, 17), (2, 65), (3, 33), (12, 5)):
        channels = directions * len(GATES[pooling]) * hidden
        gates = random(rng, (offsets[-1], taps * channels), dtype)
        coefficients = random(rng, (3, channels), real)
        h0 = random(rng, (len(offsets) - 1, directions, hidden), dtype)
        h, _, _ = ops.gate_pool(
            gates,
            coefficients,
            h0,
            torch.tensor(offsets),
            None,
            torch.tensor(7),
            hidden,
            taps,
            pooling,
            direction,
            0.25,
        )
        expected = gate_pool_twin(
            gates.double().numpy(),
            coefficients.double().numpy(),
            h0.double().numpy(),
            7,
            0.25,
            offsets=offsets,
            pooling=pooling,
            direction=direction,
            taps=taps,
            hidden=hidden,
        )
        check(h, expected, dtype)


def test_activations_keep_their_accuracy(isa: str) -> None:
    # One step from c = 0 with o open gives (1 - f) * z, with f shut z itself.
    x = torch.cat(
        (torch.linspace(-30, 30, 4001), torch.logspace(-30, 0, 301), torch.tensor([88.0, 1e4]))
    )
    x = torch.cat((x, -x))
    shut, wide = torch.full_like(x, -1e4), torch.full_like(x, 1e4)
    width = len(x)
    coefficients = torch.tensor([0.0, 1.0, 0.0])[:, None].repeat(1, 3 * width)

    def step(z: Any, f: Any, o: Any) -> Any:
        gates = torch.cat((z, f, o))[None, None]
        return ops.gate_pool(
            gates, coefficients, None, None, None, None, width, 1, "fo", "forward", 0.0
        )[0].flatten()

    exact = x.double()
    tanh = step(x, shut, wide).double()
    assert ((tanh - exact.tanh()).abs() <= 3e-7 * exact.tanh().abs()).all()
    sigmoid = step(wide, shut, x).double()
    assert ((sigmoid - exact.sigmoid()).abs() <= 3e-7 * exact.sigmoid() + 1e-37).all()


def test_nan_stays_nan(isa: str) -> None:
    for bad in range(3):
        gates = torch.zeros(1, 2, 3 * 40)
        gates[0, 0, 40 * bad + 7] = float("nan")
        coefficients = torch.tensor([0.0, 1.0, 0.0])[:, None].repeat(1, 120)
        h = ops.gate_pool(gates, coefficients, None, None, None, None, 40, 1, "fo", "forward", 0.0)[
            0
        ]
        assert h[0, 0].isnan().nonzero().flatten().tolist() == [7]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("layout", ["ragged", "padded", "time-major"])
def test_batch_norm_of_gates_sees_valid_rows_only(
    isa: str, layout: str, dtype: Any, rng: np.random.Generator
) -> None:
    hidden, taps, direction, pooling = 19, 2, "both", "fo"
    channels = 2 * 3 * hidden
    offsets = torch.tensor([0, 4, 4, 5, 12, 21])
    lengths = offsets.diff()
    # Far from zero: variance must be centred.
    rows = random(rng, (21, taps * channels), dtype) + 100
    weight, bias = random(rng, (channels,), dtype), random(rng, (channels,), dtype)
    gh = random(rng, (21, 2 * hidden), dtype)

    # The same in torch: taps summed by hand, BatchNorm1d on the concatenated valid rows.
    leaves = [t.double().clone().requires_grad_() for t in (rows, weight, bias)]
    parts = leaves[0].view(21, 2, taps, 3 * hidden)
    summed = []
    for s in range(5):
        for t in range(int(offsets[s]), int(offsets[s + 1])):
            forward = parts[t, 0, 1] + (parts[t - 1, 0, 0] if t > offsets[s] else 0)
            backward = parts[t, 1, 0] + (parts[t + 1, 1, 1] if t + 1 < offsets[s + 1] else 0)
            summed.append(torch.cat((forward, backward)))
    norm = torch.nn.BatchNorm1d(channels).double()
    p = torch.nn.functional.batch_norm(
        torch.stack(summed), norm.running_mean, norm.running_var, leaves[1], leaves[2], True, 1.0
    ).view(21, 2, 3, hidden)
    z, f, o = p[:, :, 0].tanh(), p[:, :, 1].sigmoid(), p[:, :, 2].sigmoid()
    columns = []
    for d, reverse in ((0, False), (1, True)):
        x = ((1 - f) * z)[:, d]
        state = torch.zeros(5, hidden, dtype=torch.float64)
        padded_f, padded_x = (pad(v, lengths, 9) for v in (f[:, d], x))
        c = scan_loop(padded_f, padded_x, state, lengths, reverse)
        columns.append(unpad(c, lengths) * o[:, d])
    exact = torch.cat(columns, 1)
    exact.backward(gh.double())

    gates = rows.clone()
    at, many = (offsets, None) if layout == "ragged" else (None, lengths)
    if layout != "ragged":
        gates = poison_padding(pad(gates, lengths, 9), lengths)
        gates = LAYOUTS["time-major" if layout == "time-major" else "batch-major"](gates)
    mine = [t.clone().requires_grad_() for t in (gates, weight, bias)]
    h, _, _, _, moments = ops.norm_gate_pool(
        *mine, None, at, many, None, hidden, taps, pooling, direction, 0.0, 1e-5
    )
    got = h if layout == "ragged" else unpad(h, lengths)
    # Around 100 the float32 inputs themselves are known to 1e-5.
    loose = 1e-3 if dtype == torch.float32 else 1e-9
    np.testing.assert_allclose(got.detach(), exact.detach(), rtol=loose, atol=loose)
    np.testing.assert_allclose(moments[0].detach(), norm.running_mean, rtol=1e-6)
    np.testing.assert_allclose(moments[1].detach() * 21 / 20, norm.running_var, rtol=loose)
    (got * gh).sum().backward()
    for actual, expected in zip(mine, leaves, strict=True):
        grad = actual.grad
        if grad.dim() == 3:
            padding = grad[torch.arange(9) >= lengths[:, None]]
            assert (padding == 0).all()
            grad = unpad(grad, lengths)
        np.testing.assert_allclose(grad, expected.grad, rtol=10 * loose, atol=10 * loose)


def pad(rows: Any, lengths: Any, steps: int) -> Any:
    out = rows.new_zeros(len(lengths), steps, rows.shape[1])
    return out.index_put((torch.arange(steps) < lengths[:, None],), rows)


def unpad(padded: Any, lengths: Any) -> Any:
    return padded[torch.arange(padded.shape[1]) < lengths[:, None]]


# --- Zoneout --------------------------------------------------------------------------------------


def test_philox_known_answers() -> None:
    # From the authors' own list of test vectors.
    ones, pi = 2**32 - 1, (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    cases = [
        ((0, 0, 0, 0), 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((ones, ones, ones, ones), 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (pi, 0x299F31D0A4093822, "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ]
    for counter, key, answer in cases:
        assert " ".join(f"{word:08x}" for word in twin._philox(counter, key)) == answer


def masks(width: int, seed: int, zoneout: float, steps: int = 40, count: int = 3) -> Any:
    """What the kernel holds: with f = 0 and z = t + 1, c[t] is t + 1 unless held."""
    z = torch.arange(1.0, steps + 1)[None, :, None].repeat(count, 1, width)
    c = ops.qrnn_pool(
        z, torch.zeros_like(z), None, None, None, None, torch.tensor(seed), zoneout, False
    )[0]
    return c != z


@pytest.mark.parametrize("width", [1, 16, 65, 300])
def test_zoneout_masks_are_philox(isa: str, width: int) -> None:
    seed = 2**61 + 12345678901
    held = masks(width, seed, 0.3)
    for n in range(3):
        expected = twin.zoneout_mask(seed, 0.3, n, 0, 40, width)
        assert (held[n].numpy() == expected).all()


def test_zoneout_rate() -> None:
    for zoneout in (0.02, 0.5, 0.9):
        held = masks(512, 3, zoneout, steps=64, count=16)
        n = held.numel()
        assert abs(held.double().mean() - zoneout) < 5 * (zoneout * (1 - zoneout) / n) ** 0.5


def test_zoneout_keeps_the_state_exactly(isa: str, rng: np.random.Generator) -> None:
    gates = gates_of(rng, "zfo", (2, 30, 70), torch.float32)
    h, c, _ = ops.qrnn_pool(*gates, None, None, None, torch.tensor(5), 0.4, False)
    for n in range(2):
        keep = torch.from_numpy(twin.zoneout_mask(5, 0.4, n, 0, 30, 70))
        before = torch.cat((torch.zeros(1, 70), c[n, :-1]))
        assert torch.equal(c[n][keep], before[keep])
        assert (c[n][~keep] != before[~keep]).all()
    assert torch.allclose(h, gates[2] * c)


def test_masks_depend_on_neither_layout_nor_threads(
    isa: str, threads: Callable[[int], None], rng: np.random.Generator
) -> None:
    lengths = torch.tensor([200, 0, 150, 200, 7] * 4)
    steps, hidden = 200, 48
    offsets = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    rows = random(rng, (int(offsets[-1]), 2 * 3 * hidden), torch.float32)
    coefficients = torch.tensor([0.0, 1.0, 0.0])[:, None].repeat(1, 6 * hidden)
    padded = pad(rows, lengths, steps)
    gh = random(rng, (len(rows), 2 * hidden), torch.float32)

    def run(gates: Any, offsets: Any, lengths: Any) -> list[Any]:
        gates = gates.clone().requires_grad_()
        leaf = coefficients.clone().requires_grad_()
        h = ops.gate_pool(
            gates, leaf, None, offsets, lengths, torch.tensor(9), hidden, 1, "fo", "both", 0.3
        )[0]
        flat = h if offsets is not None else unpad(h, lengths)
        (flat * gh).sum().backward()
        grad = gates.grad if offsets is not None else unpad(gates.grad, lengths)
        return [flat, grad, leaf.grad]

    results = []
    for count in (1, 2, 5):
        threads(count)
        results.append(run(rows, offsets, None))
        results.append(run(padded, None, lengths))
        results.append(run(LAYOUTS["time-major"](padded), None, lengths))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


# --- Attention pooling ----------------------------------------------------------------------------


@DTYPES
def test_attend(isa: str, dtype: Any, rng: np.random.Generator) -> None:
    for heads, size in ((1, 1), (1, 300), (3, 17), (2, 64)):
        states = random(rng, (len(LENGTHS), STEPS, heads * size), dtype)
        logits = 5 * random(rng, (len(LENGTHS), STEPS, heads), dtype)
        pooled, weights = ops.attend(poison_padding(states), poison_padding(logits), None, LENGTHS)
        expected = np.zeros(pooled.shape)
        for n, length in enumerate(LENGTHS.tolist()):
            w = np.exp(logits[n, :length].double().numpy())
            w /= w.sum(0)
            check(weights[n, :length], w, dtype)
            assert (weights[n, length:] == 0).all()
            s = states[n, :length].double().numpy().reshape(length, heads, size)
            expected[n] = np.einsum("th,ths->hs", w, s).ravel()
        # bfloat16: the stored weights are rounded, too
        scale = 3 if dtype == torch.bfloat16 else 1
        np.testing.assert_allclose(
            pooled.double(), expected, rtol=scale * TOLERANCE[dtype], atol=scale * TOLERANCE[dtype]
        )


# --- Bad input ------------------------------------------------------------------------------------

F = torch.zeros(2, 3, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: functional.forget_mult(F, F.double()), TypeError, "x must be torch.float32"),
        (lambda: functional.forget_mult(F.half(), F.half()), TypeError, "got torch.float16"),
        (
            lambda: functional.forget_mult(F, F[:, :2]),
            ValueError,
            r"x must be of shape \(2, 3, 4\)",
        ),
        (lambda: functional.forget_mult(F[0], F[0]), ValueError, "offsets go with ragged"),
        (lambda: functional.forget_mult(F, F, F[0]), ValueError, r"h0 must be of shape \(2, 4\)"),
        (
            lambda: functional.forget_mult(F, F, torch.zeros(2, 4).double()),
            TypeError,
            "h0 must be torch.float32",
        ),
        (
            lambda: functional.forget_mult(F, F, lengths=torch.tensor([1, 4])),
            ValueError,
            r"lengths must be in \[0, 3\], got lengths\[1\] = 4",
        ),
        (
            lambda: functional.forget_mult(F, F, lengths=torch.tensor([-1, 3])),
            ValueError,
            r"got lengths\[0\] = -1",
        ),
        (
            lambda: functional.forget_mult(F, F, lengths=torch.tensor([1, 2, 3])),
            ValueError,
            r"lengths must be of shape \(2,\), got \(3,\)",
        ),
        (
            lambda: functional.forget_mult(F, F, lengths=torch.tensor([1.0, 2.0])),
            TypeError,
            "lengths must be integers, got torch.float32",
        ),
        (lambda: functional.qrnn_pool(F, F, i=F), ValueError, "o must be given when i is"),
        (lambda: functional.qrnn_pool(F, F, zoneout=1.0), ValueError, r"zoneout .* got 1.0"),
        (
            lambda: ops.forget_mult(F[0], F[0], None, torch.tensor([0, 2]), None, False),
            ValueError,
            "offsets must end at the number of rows 3, got 2",
        ),
        (
            lambda: ops.forget_mult(F[0], F[0], None, torch.tensor([0, 2, 1, 3]), None, False),
            ValueError,
            r"not decrease, got offsets\[2\] = 1",
        ),
        (
            lambda: ops.forget_mult(F[0], F[0], None, torch.tensor([1, 3]), None, False),
            ValueError,
            r"start at 0 and not decrease, got offsets\[0\] = 1",
        ),
        (
            lambda: ops.gate_pool(
                F, torch.zeros(3, 3), None, None, None, None, 2, 1, "fo", "forward", 0.0
            ),
            ValueError,
            "gates must have 6 channels .* got 4",
        ),
        (
            lambda: ops.gate_pool(
                F, torch.zeros(3, 3), None, None, None, None, 2, 1, "xo", "forward", 0.0
            ),
            ValueError,
            "pooling must be one of 'f', 'fo', 'ifo', got 'xo'",
        ),
        (
            lambda: ops.gate_pool(
                F, torch.zeros(3, 4), None, None, None, None, 2, 1, "f", "down", 0.0
            ),
            ValueError,
            "direction must be .* got 'down'",
        ),
        (
            lambda: ops.attend(F, F[..., :3], None, None),
            ValueError,
            "heads must divide the width 4",
        ),
    ],
)
def test_bad_input(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
