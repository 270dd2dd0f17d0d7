"""Recurrence kernels of each instruction set against loops in float64, on raw addresses.

Everything a kernel may not read is NaN here, everything it has to write starts as NaN.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pqrnn_native import _core
from pqrnn_native.reference import recurrence as twin

Array = npt.NDArray[Any]

F32, BF16, F64 = range(3)
STORAGE = {F32: np.float32, BF16: np.uint16, F64: np.float64}
# float32: exp in float32 and sums of a few terms; bfloat16: 8 bits, and states stored with them.
CLOSE = {
    F32: {"rtol": 3e-5, "atol": 5e-6},
    BF16: {"rtol": 2**-7, "atol": 2**-6},
    F64: {"rtol": 1e-11, "atol": 1e-12},
}
LAYOUTS = ("batch-major", "time-major", "gaps", "ragged")
WIDTHS = (1, 15, 16, 17, 31, 33, 64, 65, 97)
POOLINGS = {"f": "zf", "fo": "zfo", "ifo": "zifo"}  # gates in memory order
ABSENT = (0, 0, 0)


def encode(values: Array, element: int) -> Array:
    if element != BF16:
        return values.astype(STORAGE[element])
    bits = values.astype(np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def decode(stored: Array, element: int) -> Array:
    if element == BF16:
        return (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return stored.astype(np.float64)


mask = functools.lru_cache(None)(twin.zoneout_mask)  # the same for all instruction sets
dropout_mask = functools.lru_cache(None)(twin.dropout_mask)


class Rows:
    """A tensor [n, T, C] laid out for a kernel."""

    def __init__(
        self, values: Array, lengths: Array, layout: str = "batch-major", element: int = F32
    ) -> None:
        self.lengths, self.layout, self.element, self.shape = lengths, layout, element, values.shape
        n, steps, width = values.shape
        self.valid = np.arange(steps) < lengths[:, None]
        values = np.where(self.valid[..., None], values, np.nan)
        if layout == "ragged":
            values = values[self.valid]
        elif layout == "time-major":
            values = values.transpose(1, 0, 2)
        elif layout == "gaps":
            wide = np.full((n, steps + 2, width + 3), np.nan)
            wide[:, 1:-1, 1:-2] = values
            values = wide
        self.memory = np.ascontiguousarray(encode(values, element))

    @property
    def data(self) -> Array:
        """The part of the memory that is the tensor."""
        return self.memory[:, 1:-1, 1:-2] if self.layout == "gaps" else self.memory

    @property
    def view(self) -> tuple[int, int, int]:
        data, size = self.data, self.memory.itemsize
        if self.layout == "ragged":
            return data.ctypes.data, 0, data.strides[0] // size
        first, second = data.strides[0] // size, data.strides[1] // size
        order = (second, first) if self.layout == "time-major" else (first, second)
        return data.ctypes.data, *order

    def values(self) -> Array:
        """As float64 [n, T, C]; a ragged tensor has no padding, which is zero here."""
        if self.layout == "gaps":
            outside = np.ones(self.memory.shape, bool)
            outside[:, 1:-1, 1:-2] = False
            assert np.isnan(decode(self.memory, self.element)[outside]).all()
        values = decode(self.data, self.element)
        if self.layout == "ragged":
            padded = np.zeros(self.shape)
            padded[self.valid] = values
            return padded
        return values.transpose(1, 0, 2) if self.layout == "time-major" else values


class Case:
    """Sequences of some lengths, and tensors of them."""

    def __init__(
        self,
        rng: np.random.Generator,
        width: int,
        lengths: Any,
        layout: str = "batch-major",
        element: int = F32,
        threads: int = 1,
    ) -> None:
        self.rng, self.width, self.layout, self.element = rng, width, layout, element
        self.lengths = np.array(lengths, np.int64)
        self.count, self.steps = len(lengths), max(1, int(self.lengths.max(initial=0)))
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)
        self.threads = threads

    @property
    def sequences(self) -> tuple[int, int, int, int, int]:
        if self.layout == "ragged":
            return self.count, 0, int(self.offsets[-1]), self.offsets.ctypes.data, 0
        full = (self.lengths == self.steps).all()
        address = 0 if full else self.lengths.ctypes.data
        return self.count, self.steps, self.count, 0, address

    def rows(self, values: Array) -> Rows:
        return Rows(values, self.lengths, self.layout, self.element)

    def random(self, width: int | None = None, *, gate: bool = False) -> tuple[Rows, Array]:
        """A random tensor, and its values as they are after rounding; zeros in the padding."""
        shape = (self.count, self.steps, width or self.width)
        values = self.rng.random(shape) if gate else self.rng.normal(size=shape)
        rows = self.rows(values)
        return rows, np.nan_to_num(rows.values())

    def empty(self, width: int | None = None) -> Rows:
        return self.rows(np.full((self.count, self.steps, width or self.width), np.nan))

    def state(self, *shape: int, fill: float | None = None) -> Array:
        """A dense array in storage form: random, or all of ``fill``."""
        shape = shape or (self.count, self.width)
        values = self.rng.normal(size=shape) if fill is None else np.full(shape, fill)
        return encode(values, self.element)

    def shape(self, direction: str, pooling: str, taps: int = 1, **options: Any) -> Any:
        return _core.PoolShape(
            sequences=self.sequences,
            width=self.width,
            direction=direction,
            pooling=list(POOLINGS).index(pooling),
            taps=taps,
            element=self.element,
            zoneout=round(options.get("zoneout", 0.0) * 2**32),
            seed=options.get("seed", 0),
            threads=self.threads,
        )

    def check(self, found: Rows | Array, expected: Array, what: str, scale: float = 1.0) -> None:
        values = found.values() if isinstance(found, Rows) else decode(found, self.element)
        close = CLOSE[self.element]
        np.testing.assert_allclose(
            values,
            expected,
            rtol=close["rtol"],
            atol=close["atol"] * scale,
            err_msg=f"{what} width={self.width} lengths={self.lengths} {self.layout}",
        )
        if isinstance(found, Rows):
            assert (values[~found.valid] == 0).all(), f"{what}: padding"


def cases(layout: str, element: int, widths: tuple[int, ...] = WIDTHS) -> list[Case]:
    """One case per width, with lengths that differ from one to the next; the empty batch too."""
    rng = np.random.default_rng(zlib.crc32(f"{layout}{element}".encode()))
    out = []
    for index, width in enumerate(widths):
        longest = (5, 1, 33, 2, 17)[index % 5]
        lengths = [longest, 0, min(1, longest), int(rng.integers(0, longest + 1))]
        out.append(Case(rng, width, lengths[: 1 + index % 4], layout, element))
    out.append(Case(rng, 6, [4, 4], layout, element))  # no padding
    return [*out, Case(rng, 6, [0, 0], layout, element), Case(rng, 6, [], layout, element)]


def derivatives(loss: Callable[..., Array], arrays: list[Array]) -> list[Array]:
    """Gradients of ``loss`` by complex steps; it gives one loss per sequence and channel, which
    depends on that sequence and channel of each array [n, T, C] only."""
    gradients = []
    for index, array in enumerate(arrays):
        gradient = np.zeros(array.shape)
        for t in range(array.shape[1]):
            moved = [a.astype(np.complex128) for a in arrays]
            moved[index][:, t] += 1e-30j
            gradient[:, t] = loss(*moved).imag / 1e-30
        gradients.append(gradient)
    return gradients


# --- The twins themselves -------------------------------------------------------------------------


def test_philox_known_answers() -> None:
    # From the known-answer file of the authors' library, philox4x32 with 10 rounds.
    assert twin.philox((0,) * 4, (0,) * 2) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    assert twin.philox((2**32 - 1,) * 4, (2**32 - 1,) * 2) == (
        0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD,
    )  # fmt: skip
    assert twin.philox(
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)
    ) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


def test_twins_by_hand() -> None:
    f, x = np.array([0.5, 0.0, 2.0]).reshape(1, 3, 1), np.array([1.0, 3.0, 4.0]).reshape(1, 3, 1)
    h0 = np.array([[4.0]])
    assert twin.scan(f, x, h0).ravel().tolist() == [3, 3, 10]
    assert twin.scan(f, x, h0, reverse=True).ravel().tolist() == [2.5, 3, 12]
    assert twin.scan(f, x, h0, lengths=[2]).ravel().tolist() == [3, 3, 0]
    z, g = np.array([8.0, 4.0]).reshape(1, 2, 1), np.array([0.25, 0.5]).reshape(1, 2, 1)
    h, c, last = twin.pool(z, g, g)
    assert c.ravel().tolist() == [6, 5]
    assert h.ravel().tolist() == [1.5, 2.5]
    assert last.ravel().tolist() == [5]
    assert twin.pool(z, g, g, 2 * g)[1].ravel().tolist() == [4, 6]
    held = np.array([False, True]).reshape(1, 2, 1)
    assert twin.pool(z, g, g, held=held)[0].ravel().tolist() == [1.5, 3]
    rows = np.array([[1.0, 10], [2, 20], [3, 30]]).reshape(1, 3, 2, 1)
    assert twin.pre_activations(rows).ravel().tolist() == [10, 21, 32]
    assert twin.pre_activations(rows, reverse=True).ravel().tolist() == [21, 32, 3]
    states = np.array([[1.0, 2], [5, 6]])[None]
    logits = np.log([[1.0, 3], [1, 1]])[None]
    np.testing.assert_allclose(twin.attend(states, logits)[0], [[3, 3]])
    np.testing.assert_allclose(twin.attend(states, logits)[1], [[[0.5, 0.75], [0.5, 0.25]]])


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_of_the_twin_scan(reverse: bool, rng: np.random.Generator) -> None:
    f, x, gh = rng.normal(size=(3, 2, 5, 3))
    h0, lengths = rng.normal(size=(2, 1, 3)), [5, 2]
    expected = derivatives(
        lambda f, x, h0: (gh * twin.scan(f, x, h0[:, 0], lengths=lengths, reverse=reverse)).sum(1),
        [f, x, h0],
    )
    gh[1, 2:] = np.nan
    found = twin.scan_gradients(gh, f, x, h0[:, 0], lengths=lengths, reverse=reverse)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b.reshape(a.shape), rtol=1e-12, atol=1e-13)


# --- Scan -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("element", [F32, BF16, F64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_scan(isa: str, layout: str, element: int, reverse: bool) -> None:
    for index, case in enumerate([*cases(layout, element), *cases(layout, element, (1030,))]):
        f, f_values = case.random(gate=True)
        x, x_values = case.random()
        h0 = case.state() if index % 2 == 0 else None
        start = None if h0 is None else decode(h0, element)
        settings = (case.sequences, case.width, element, reverse, 1)
        h = case.empty()
        address = 0 if h0 is None else h0.ctypes.data
        _core.scan_forward(*settings, f.view, x.view, address, h.view)
        options: Any = {"lengths": case.lengths, "reverse": reverse}
        case.check(h, twin.scan(f_values, x_values, start, **options), "h", 4)

        gh, gh_values = case.random()
        gf, gx, gh0 = case.empty(), case.empty(), case.state(fill=np.nan)
        _core.scan_backward(
            *settings, gh.view, f.view, h.view, address, gf.view, gx.view, gh0.ctypes.data
        )
        gradients = twin.scan_gradients(gh_values, f_values, x_values, start, **options)
        scale = 1 + np.abs(gradients[0]).max(initial=0)
        for name, found, expected in zip("f x h0".split(), (gf, gx, gh0), gradients, strict=True):
            case.check(found, expected, f"gradient of {name}", scale)


# --- Pooling of activated gates -------------------------------------------------------------------


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("element", [F32, BF16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_pool(isa: str, layout: str, element: int, pooling: str) -> None:
    for index, case in enumerate(cases(layout, element)):
        check_pool(case, index, pooling)


def check_pool(case: Case, index: int, pooling: str) -> None:
    names, element = POOLINGS[pooling], case.element
    reverse = index % 2 == 1
    p, seed = (0.3, 2**63 + 12345 * index) if index % 3 == 0 else (0.0, 0)
    held = mask(seed, p, case.count, case.steps, case.width)
    gates, values = {}, {}
    for name in names:
        gates[name], values[name] = case.random(gate=name != "z")
    h0 = case.state() if index % 4 < 2 else None
    start = None if h0 is None else decode(h0, element)
    address = 0 if h0 is None else h0.ctypes.data
    shape = case.shape("backward" if reverse else "forward", pooling, zoneout=p, seed=seed)
    h, last = case.empty(), case.state(fill=np.nan)
    c = None if pooling == "f" else case.empty()
    views = tuple(gates[name].view if name in gates else ABSENT for name in "zfoi")
    c_view = ABSENT if c is None else c.view
    _core.pool_forward(shape, views, address, h.view, c_view, last.ctypes.data)

    def pooled(*arrays: Array, h0: Array | None = start) -> tuple[Array, Array, Array]:
        by_name = dict(zip(names, arrays, strict=True))
        return twin.pool(
            *(by_name.get(name) for name in "zfoi"),  # type: ignore[arg-type]
            h0, lengths=case.lengths, reverse=reverse, held=held,
        )  # fmt: skip

    expected = pooled(*values.values())
    case.check(h, expected[0], "h")
    if c is not None:
        case.check(c, expected[1], "c")
    case.check(last, expected[2], "last")

    gh, gh_values = case.random()
    gc, gc_values = case.random() if c is not None and index % 2 else (None, None)
    glast = case.state() if index % 3 else None
    gradients = {name: case.empty() for name in names}
    gh0 = case.state(fill=np.nan)
    _core.pool_backward(
        shape,
        views,
        gh.view,
        ABSENT if gc is None else gc.view,
        0 if glast is None else glast.ctypes.data,
        address,
        h.view if c is None else c.view,
        tuple(gradients[name].view if name in gradients else ABSENT for name in "zfoi"),
        gh0.ctypes.data,
    )

    def loss(*arrays: Array) -> Array:
        h, c, last = pooled(*arrays[:-1], h0=arrays[-1][:, 0])
        total = (gh_values * h).sum(1)
        if gc_values is not None:
            total += (gc_values * c).sum(1)
        return total if glast is None else total + decode(glast, element) * last

    first = np.zeros((case.count, case.width)) if start is None else start
    wanted = derivatives(loss, [*values.values(), first[:, None]])
    scale = 1 + max(np.abs(g).max(initial=0) for g in wanted)
    for name, gradient in zip(names, wanted, strict=False):
        case.check(gradients[name], gradient, f"gradient of {name}", scale)
    case.check(gh0, wanted[-1][:, 0], "gradient of h0", scale)


# --- Pooling of packed pre-activations ------------------------------------------------------------


DIRECTIONS = {"forward": (False,), "backward": (True,), "both": (False, True)}


@pytest.mark.parametrize("taps", [1, 2, 3])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gate_pool(isa: str, direction: str, pooling: str, taps: int) -> None:
    reverses, count = DIRECTIONS[direction], len(POOLINGS[pooling])
    number = 9 * list(DIRECTIONS).index(direction) + 3 * (count - 2) + taps
    for element in (F32, BF16, F64):
        layout = LAYOUTS[(number + element) % len(LAYOUTS)]
        for index, case in enumerate(cases(layout, element, (1, 33, 65))):
            check_gate_pool(case, index, direction, reverses, pooling, taps)


def check_gate_pool(
    case: Case, index: int, direction: str, reverses: tuple[bool, ...], pooling: str, taps: int
) -> None:
    element, width, count = case.element, case.width, len(POOLINGS[pooling])
    directions = len(reverses)
    channels = directions * count * width
    p, seed = (0.25, 99 + index) if index % 2 else (0.0, 0)
    gates, values = case.random(channels * taps)
    packed = values.reshape(case.count, case.steps, directions, taps, count, width)
    real = np.float64 if element == F64 else np.float32
    coefficients = case.rng.normal(size=(3, directions, count, width)).astype(real)
    mean, scale, shift = coefficients.astype(np.float64)
    state = (case.count, directions, width)
    h0 = case.state(*state)
    start = decode(h0, element)
    shape = case.shape(direction, pooling, taps, zoneout=p, seed=seed)
    h, last = case.empty(directions * width), case.state(*state, fill=np.nan)
    c = None if pooling == "f" else case.empty(directions * width)
    _core.gate_pool_forward(
        shape, gates.view, coefficients.ctypes.data, h0.ctypes.data, h.view,
        ABSENT if c is None else c.view, last.ctypes.data,
    )  # fmt: skip

    gh, gh_values = case.random(directions * width)
    gh_values = gh_values.reshape(case.count, case.steps, directions, width)
    gradient, gh0 = case.empty(channels * taps), case.state(*state, fill=np.nan)
    groups = -(-case.count // _core.SEQUENCE_GROUP)
    sums = np.full((groups, 2, directions, count, width), np.nan, real)
    _core.gate_pool_backward(
        shape, gates.view, coefficients.ctypes.data, gh.view, ABSENT, 0, h0.ctypes.data,
        h.view if c is None else c.view, gradient.view, gh0.ctypes.data, sums.ctypes.data,
    )  # fmt: skip

    expected = {name: [] for name in ("h", "c", "last", "g", "gh0")}  # type: ignore[var-annotated]
    expected_sums = np.zeros((2, directions, count, width))
    for d, reverse in enumerate(reverses):
        options: Any = {"lengths": case.lengths, "reverse": reverse}
        held = mask(seed, p, case.count, case.steps, width, d)
        flat = packed[:, :, d].reshape(case.count, case.steps, taps, count * width)

        def pre(flat: Array, options: Any = options) -> Array:
            return twin.pre_activations(flat, **options).reshape(
                case.count, case.steps, count, width
            )

        def run(y: Array, h0: Array, options: Any = options, held: Any = held) -> Any:
            return twin.activated_pool(y, pooling, h0, held=held, **options)

        y = (pre(flat) - mean[d]) * scale[d] + shift[d]
        found = run(y, start[:, d])
        for name, value in zip(("h", "c", "last"), found, strict=True):
            expected[name].append(value)
        # dy by complex steps, gate by gate; the rest is linear in it.
        parts = [y[:, :, g] for g in range(count)]
        *dy, gh0_wanted = derivatives(
            lambda *a, d=d, run=run: (
                gh_values[:, :, d] * run(np.stack(a[:-1], 2), a[-1][:, 0])[0]
            ).sum(1),
            [*parts, start[:, d : d + 1]],
        )
        slope = np.stack(dy, 2)
        expected_sums[0, d] = slope.sum((0, 1))
        expected_sums[1, d] = (slope * (pre(flat) - mean[d])).sum((0, 1))
        dp = (slope * scale[d]).reshape(case.count, case.steps, count * width)
        spread = np.zeros(flat.shape)
        for n in range(case.count):
            for t in range(int(case.lengths[n])):
                for j in range(taps):
                    row = t + j if reverse else t + j - taps + 1
                    if 0 <= row < case.lengths[n]:
                        spread[n, row, j] += dp[n, t]
        expected["g"].append(spread.reshape(case.count, case.steps, taps * count * width))
        expected["gh0"].append(gh0_wanted[:, 0])
    case.check(h, np.concatenate(expected["h"], 2), "h")
    if c is not None:
        case.check(c, np.concatenate(expected["c"], 2), "c")
    case.check(last, np.stack(expected["last"], 1), "last")
    wanted = np.concatenate(expected["g"], 2)
    size = 1 + np.abs(wanted).max(initial=0)
    case.check(gradient, wanted, "gradient of gates", size)
    case.check(gh0, np.stack(expected["gh0"], 1), "gradient of h0", size)
    total = 1 + np.abs(expected_sums).max(initial=0)
    close = CLOSE[element]
    np.testing.assert_allclose(
        sums.astype(np.float64).sum(0), expected_sums, close["rtol"], close["atol"] * total
    )


@pytest.mark.parametrize("taps", [1, 2, 3])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_batch_norm_of_gates(isa: str, direction: str, taps: int) -> None:
    reverses = DIRECTIONS[direction]
    for element in (F32, BF16, F64):
        layout = LAYOUTS[(element + taps + len(direction)) % len(LAYOUTS)]
        for case in cases(layout, element, (1, 16, 33, 97)):
            case.lengths = np.tile(case.lengths, 3)  # more than one group of sequences
            case = Case(case.rng, case.width, case.lengths, layout, element)
            check_batch_norm(case, direction, reverses, taps)


def check_batch_norm(case: Case, direction: str, reverses: tuple[bool, ...], taps: int) -> None:
    gates_width, directions = 3 * case.width, len(reverses)
    channels = directions * gates_width
    gates, values = case.random(channels * taps)
    packed = values.reshape(case.count, case.steps, directions, taps, gates_width)
    p = np.concatenate(
        [
            twin.pre_activations(packed[:, :, d], lengths=case.lengths, reverse=reverse)
            for d, reverse in enumerate(reverses)
        ],
        2,
    )
    groups = -(-case.count // _core.SEQUENCE_GROUP)
    moments = np.full((groups, 2, channels), np.nan)
    shape = case.shape(direction, "fo", taps)
    summed = case.empty(channels) if taps > 1 else None
    view = ABSENT if summed is None else summed.view
    _core.gate_moments(shape, gates_width, gates.view, view, moments.ctypes.data)
    if summed is not None:
        case.check(summed, p, "sum of taps")
    for group in range(groups):
        part = slice(group * _core.SEQUENCE_GROUP, (group + 1) * _core.SEQUENCE_GROUP)
        lengths = case.lengths[part]
        rows = p[part][np.arange(case.steps) < lengths[:, None]]
        if len(rows) == 0:
            continue
        mean = rows.mean(0)
        close = CLOSE[F64 if case.element == F64 else F32]
        np.testing.assert_allclose(moments[group, 0], mean, **close)
        deviation = ((rows - mean) ** 2).sum(0)
        np.testing.assert_allclose(
            moments[group, 1], deviation, close["rtol"], close["atol"] * len(rows)
        )

    dy, dy_values = case.random(channels)
    gradient = case.empty(channels * taps)
    real = np.float64 if case.element == F64 else np.float32
    coefficients = case.rng.normal(size=(3, channels)).astype(real)
    center, offset, slope = coefficients.astype(np.float64)
    source = gates if summed is None else summed
    _core.gate_norm_backward(
        shape, gates_width, source.view, dy.view, coefficients.ctypes.data, gradient.view
    )
    valid = gradient.valid[..., None]
    d_all = np.where(valid, dy_values + offset + (p - center) * slope, 0)
    wanted = np.zeros(packed.shape)
    for d, reverse in enumerate(reverses):
        part = slice(d * gates_width, (d + 1) * gates_width)
        for n in range(case.count):
            for t in range(int(case.lengths[n])):
                for j in range(taps):
                    row = t + j if reverse else t + j - taps + 1
                    if 0 <= row < case.lengths[n]:
                        wanted[n, row, d, j] = d_all[n, t, part]
    size = 1 + np.abs(wanted).max(initial=0)
    case.check(
        gradient, wanted.reshape(case.count, case.steps, channels * taps), "gradient of gates", size
    )


# --- Attention ------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("element", [F32, BF16, F64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_attend(isa: str, layout: str, element: int, heads: int) -> None:
    for case in cases(layout, element, tuple(heads * width for width in (1, 5, 16, 33, 65))):
        states, states_values = case.random()
        logits, logits_values = case.random(heads)
        weights, pooled = case.empty(heads), case.state(fill=np.nan)
        settings = (case.sequences, case.width, heads, element, 1)
        _core.attend_forward(*settings, states.view, logits.view, weights.view, pooled.ctypes.data)
        expected = twin.attend(states_values, logits_values, lengths=case.lengths)
        case.check(pooled, expected[0], "pooled")
        case.check(weights, expected[1], "weights")

        gpooled = case.state()
        g = decode(gpooled, element)
        gstates, glogits = case.empty(), case.empty(heads)
        _core.attend_backward(
            *settings, gpooled.ctypes.data, states.view, weights.view, gstates.view, glogits.view
        )
        wanted = np.zeros(logits_values.shape)
        for t in range(case.steps):
            moved = logits_values.astype(np.complex128)
            moved[:, t] += 1e-30j
            change = g * twin.attend(states_values, moved, lengths=case.lengths)[0].imag / 1e-30
            wanted[:, t] = change.reshape(case.count, heads, case.width // heads).sum(2)
        size = 1 + np.abs(wanted).max(initial=0)
        case.check(glogits, wanted, "gradient of logits", size)
        repeated = np.repeat(expected[1], case.width // heads, axis=2)
        case.check(gstates, repeated * g[:, None], "gradient of states")


# --- Zoneout, threads, bad input ------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("width", "threads"), [(1, 1), (65, 3), (97, 1), (300, 4)])
def test_zoneout_masks_are_the_twins(isa: str, layout: str, width: int, threads: int) -> None:
    # f = 0 and z different at each step: a state equal to the one before has been held.
    seed, p = 0xFEDCBA9876543210, 0.4
    case = Case(np.random.default_rng(0), width, [7, 0, 4, 1, *[2] * 7], layout, threads=threads)
    gates = np.empty((case.count, case.steps, 2, 2, width))
    gates[..., 0, :] = np.linspace(-1, 1, case.steps)[:, None, None]
    gates[..., 1, :] = -200
    rows = case.rows(gates.reshape(case.count, case.steps, 4 * width))
    coefficients = np.zeros((3, 4 * width), np.float32)
    coefficients[1] = 1
    h0, last = case.state(case.count, 2, width, fill=9), case.state(case.count, 2, width)
    h = case.empty(2 * width)
    _core.gate_pool_forward(
        case.shape("both", "f", zoneout=p, seed=seed), rows.view, coefficients.ctypes.data,
        h0.ctypes.data, h.view, ABSENT, last.ctypes.data,
    )  # fmt: skip
    found = h.values().reshape(case.count, case.steps, 2, width)
    seen = []
    for d in range(2):
        held = mask(seed, p, case.count, case.steps, width, d)
        for n, length in enumerate(case.lengths):
            before = np.full(width, 9.0)
            for t in range(length) if d == 0 else range(length - 1, -1, -1):
                np.testing.assert_array_equal(found[n, t, d] == before, held[n, t])
                before = found[n, t, d]
                seen.append(held[n, t])
    assert abs(np.mean(seen) - p) < 5 * np.sqrt(p * (1 - p) / np.size(seen))


def dropped(
    x: Array, element: int, seed: int, probability: float, scale: float, threads: int = 1
) -> Array:
    y = encode(np.full(x.shape, np.nan), element)
    _core.dropout(
        x.size, element, round(probability * 2**32), seed, scale, threads,
        x.ctypes.data, y.ctypes.data,
    )  # fmt: skip
    return y


@pytest.mark.parametrize("element", [F32, BF16, F64])
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 63, 64, 65, 1023, 1024, 1025, 3000])
def test_dropout_is_the_twins(isa: str, element: int, count: int) -> None:
    seed, p, scale = 0xFEDCBA9876543210 - count, 0.4, 1 / (1 - 0.4)
    x = encode(np.random.default_rng(count).normal(size=count), element)
    x[::7] = encode(np.array([np.nan]), element)  # dropped like others, and kept like others
    found = decode(dropped(x, element, seed, p, scale), element)
    zero = dropout_mask(seed, p, count)
    values = decode(x, element) * scale
    expected = decode(encode(np.where(zero, 0, values), element), element)
    np.testing.assert_allclose(found, expected, {F32: 2e-7, BF16: 2**-7, F64: 0}[element])
    if count:
        assert abs(zero.mean() - p) < 5 * np.sqrt(p * (1 - p) / count)


def test_dropout_on_threads_has_the_same_bits(isa: str) -> None:
    x = encode(np.random.default_rng(2).normal(size=70_001), F32)
    alone = dropped(x, F32, 3, 0.1, 1 / 0.9)
    for threads in (2, 5):
        assert dropped(x, F32, 3, 0.1, 1 / 0.9, threads).tobytes() == alone.tobytes()


def test_zoneout_and_dropout_draw_no_word_twice() -> None:
    # Of the same seed; with the counter of either direction the masks would be one.
    zoneout = (twin.zoneout_mask(8, 0.5, 1, 1, 512, direction) for direction in range(2))
    for held in zoneout:
        assert 0.4 < (held.ravel() == twin.dropout_mask(8, 0.5, 512)).mean() < 0.6


def test_threads_do_not_change_bits(isa: str) -> None:
    results = []
    for threads in (1, 2, 5):
        case = Case(np.random.default_rng(1), 270, [3, 9, 0, 6] * 5, "batch-major", F32, threads)
        gates, _ = case.random(3 * 2 * 270)
        coefficients = case.rng.normal(size=(3, 2 * 3 * 270)).astype(np.float32)
        h, c, last = case.empty(540), case.empty(540), case.state(20, 2, 270, fill=np.nan)
        shape = case.shape("both", "fo", zoneout=0.2, seed=5)
        address = coefficients.ctypes.data
        _core.gate_pool_forward(shape, gates.view, address, 0, h.view, c.view, last.ctypes.data)
        gh, _ = case.random(540)
        gradient, gh0 = case.empty(1620), case.state(20, 2, 270, fill=np.nan)
        sums = np.full((3, 2, 1620), np.nan, np.float32)
        _core.gate_pool_backward(
            shape, gates.view, address, gh.view, ABSENT, 0, 0, c.view, gradient.view,
            gh0.ctypes.data, sums.ctypes.data,
        )  # fmt: skip
        moments = np.full((3, 2, 1620), np.nan)
        _core.gate_moments(shape, 810, gates.view, ABSENT, moments.ctypes.data)
        found = (h.memory, c.memory, last, gradient.memory, gh0, sums, moments)
        assert not any(np.isnan(a).any() for a in found)
        results.append(b"".join(a.tobytes() for a in found))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(
    ("layout", "values", "message"),
    [
        ("batch-major", [2, -1], r"lengths must be in \[0, 4\], got lengths\[1\] = -1"),
        ("batch-major", [5, 2], r"lengths must be in \[0, 4\], got lengths\[0\] = 5"),
        ("ragged", [1, 2, 6], r"offsets must start at 0 and not decrease, got offsets\[0\] = 1"),
        ("ragged", [0, 4, 3], r"got offsets\[2\] = 3"),
        ("ragged", [0, 4, 7], r"offsets must end at the number of rows 6, got 7"),
    ],
)
def test_bad_sequences_are_refused(layout: str, values: list[int], message: str) -> None:
    case = Case(np.random.default_rng(0), 3, [4, 2], layout)
    f, x, h = case.empty(), case.empty(), case.empty()
    sequences = case.sequences
    (case.offsets if layout == "ragged" else case.lengths)[:] = values
    with pytest.raises(ValueError, match=message):
        _core.scan_forward(sequences, 3, F32, False, 1, f.view, x.view, 0, h.view)
    assert np.isnan(h.memory).all()
