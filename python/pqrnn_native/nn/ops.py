"""The recurrence as torch operators: functional, with fakes and autograd, on raw addresses.

torch is not linked: an operator's body allocates its outputs, hands addresses and strides to
``_core`` (which releases the GIL) and returns. Backward passes are operators too, so that
``torch.compile`` can trace them.

Layouts. ``[batch, time, width]`` tensors may have any strides as long as channels are neighbours,
so a transposed time-major tensor is as good as a batch-major one. With ``offsets`` (int64 [n + 1])
tensors are ragged ``[rows, width]`` and sequence ``s`` is the rows ``offsets[s]:offsets[s + 1]``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op, register_autocast

from .. import _core

__all__ = [
    "POOLINGS",
    "attend",
    "forget_mult",
    "gate_pool",
    "norm_gate_pool",
    "qrnn_pool",
]

POOLINGS = ("f", "fo", "ifo")
_GATES = {"f": 2, "fo": 3, "ifo": 4}
_ELEMENTS = {torch.float32: 0, torch.bfloat16: 1, torch.float64: 2}
_ABSENT = (0, 0, 0)
_BIG = 4 << 20  # bytes; below that malloc hands out memory that it has touched before

_View = tuple[int, int, int]


def _rows(name: str, value: Tensor, like: Tensor) -> Tensor:
    """``value`` with neighbouring channels, of the dtype and shape that ``like`` has."""
    if value.dtype != like.dtype:
        raise TypeError(f"{name} must be {like.dtype} as the other tensors, got {value.dtype}")
    if value.shape != like.shape:
        raise ValueError(f"{name} must be of shape {tuple(like.shape)}, got {tuple(value.shape)}")
    return _dense(value)


def _dense(value: Tensor) -> Tensor:
    if value.device.type != "cpu":
        raise ValueError(f"this build has CPU kernels only, got a tensor on {value.device}")
    if value.dtype not in _ELEMENTS:
        raise TypeError(f"dtype must be float32, bfloat16 or float64, got {value.dtype}")
    return value if value.stride(-1) == 1 or value.shape[-1] == 1 else value.contiguous()


def _state(name: str, value: Tensor | None, like: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """An initial state, checked and contiguous."""
    if value is None:
        return None
    if value.dtype != like.dtype:
        raise TypeError(f"{name} must be {like.dtype} as the other tensors, got {value.dtype}")
    if tuple(value.shape) != shape:
        raise ValueError(f"{name} must be of shape {shape}, got {tuple(value.shape)}")
    return value.contiguous()


def _address(value: Tensor | None) -> int:
    return 0 if value is None else value.data_ptr()


def _view(value: Tensor | None, offset: int = 0) -> _View:
    """Address and strides; ragged tensors have no stride between sequences."""
    if value is None:
        return _ABSENT
    address = value.data_ptr() + offset * value.element_size()
    if value.dim() == 2:
        return address, 0, value.stride(0)
    return address, value.stride(0), value.stride(1)


def _index(name: str, value: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    if value is None:
        return None
    if value.dtype != torch.int64 or value.device.type != "cpu":
        raise TypeError(f"{name} must be int64 on the CPU, got {value.dtype} on {value.device}")
    if tuple(value.shape) != shape:
        raise ValueError(f"{name} must be of shape {shape}, got {tuple(value.shape)}")
    return value.contiguous()


class _Sequences:
    """Which rows belong together; keeps the index tensors alive while a kernel runs."""

    def __init__(self, rows: Tensor, offsets: Tensor | None, lengths: Tensor | None) -> None:
        if rows.dim() not in (2, 3):
            raise ValueError(f"tensors must have 2 or 3 dimensions, got {tuple(rows.shape)}")
        if (rows.dim() == 2) != (offsets is not None):
            raise ValueError(
                f"offsets go with ragged tensors of 2 dimensions and only with them, "
                f"got shape {tuple(rows.shape)}"
            )
        if offsets is not None and lengths is not None:
            raise ValueError("lengths must be None when offsets are given")
        if offsets is not None and offsets.dim() == 1 and len(offsets) == 0:
            raise ValueError("offsets must have n + 1 entries, got none")
        self.count = rows.shape[0] if offsets is None else offsets.shape[0] - 1
        self._offsets = _index("offsets", offsets, (self.count + 1,))
        self._lengths = _index("lengths", lengths, (self.count,))
        steps = rows.shape[1] if offsets is None else 0
        self.arguments = (
            self.count,
            steps,
            rows.shape[0],
            _address(self._offsets),
            _address(self._lengths),
        )

    def lengths(self, rows: Tensor) -> Tensor:
        """Valid rows of each sequence, [n]."""
        if self._offsets is not None:
            return self._offsets.diff()
        if self._lengths is not None:
            return self._lengths
        return torch.full((self.count,), rows.shape[1])


def _is_time_major(like: Tensor) -> bool:
    return like.dim() == 3 and like.stride(0) < like.stride(1)


def _empty_rows(like: Tensor, width: int) -> Tensor:
    """Uninitialised rows of another width in the memory order of ``like``."""
    if _is_time_major(like):
        batch, time, _ = like.shape
        return torch.empty(time, batch, width, dtype=like.dtype, device=like.device).transpose(0, 1)
    return torch.empty(*like.shape[:-1], width, dtype=like.dtype, device=like.device)


def _new_rows(like: Tensor, width: int) -> Tensor:
    """:func:`_empty_rows` for a kernel to fill; big ones in memory that is used again."""
    size = like.shape[:-1].numel() * width * like.element_size()
    if size < _BIG:
        return _empty_rows(like, width)
    flat = torch.frombuffer(_core.Block(size), dtype=like.dtype)
    if _is_time_major(like):
        batch, time, _ = like.shape
        return flat.view(time, batch, width).transpose(0, 1)
    return flat.view(*like.shape[:-1], width)


def _real(dtype: torch.dtype) -> torch.dtype:
    """The type that sums are computed in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _threads(rows: Tensor) -> int:
    """As torch has it; one for less than 64 Ki elements, where waking a thread does not pay."""
    return torch.get_num_threads() if rows.numel() >= 1 << 16 else 1


# --- h[t] = f[t] * h[t-1] + x[t] ------------------------------------------------------------------


@custom_op("pqrnn_native::forget_mult", mutates_args=(), device_types="cpu")
def forget_mult(
    f: Tensor,
    x: Tensor,
    h0: Tensor | None,
    offsets: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
) -> Tensor:
    """``h[t] = f[t] * h[t-1] + x[t]``; see :func:`pqrnn_native.nn.functional.forget_mult`."""
    f, x = _dense(f), _rows("x", x, f)
    sequences = _Sequences(f, offsets, lengths)
    width = f.shape[-1]
    h0 = _state("h0", h0, f, (sequences.count, width))
    h = _new_rows(f, width)
    _core.scan_forward(
        sequences.arguments,
        width,
        _ELEMENTS[f.dtype],
        reverse,
        _threads(f),
        _view(f),
        _view(x),
        _address(h0),
        _view(h),
    )
    return h


@forget_mult.register_fake
def _(
    f: Tensor,
    x: Tensor,
    h0: Tensor | None,
    offsets: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
) -> Tensor:
    return _empty_rows(f, f.shape[-1])


@custom_op("pqrnn_native::forget_mult_backward", mutates_args=(), device_types="cpu")
def forget_mult_backward(
    gh: Tensor,
    f: Tensor,
    h: Tensor,
    h0: Tensor | None,
    offsets: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of f, x and h0, from that of h."""
    f, h, gh = _dense(f), _dense(h), _rows("gh", gh, f)
    sequences = _Sequences(f, offsets, lengths)
    width = f.shape[-1]
    h0 = _state("h0", h0, f, (sequences.count, width))
    gf, gx = _new_rows(f, width), _new_rows(f, width)
    gh0 = torch.empty(sequences.count, width, dtype=f.dtype)
    _core.scan_backward(
        sequences.arguments,
        width,
        _ELEMENTS[f.dtype],
        reverse,
        _threads(f),
        _view(gh),
        _view(f),
        _view(h),
        _address(h0),
        _view(gf),
        _view(gx),
        _address(gh0),
    )
    return gf, gx, gh0


def _count(rows: Tensor, offsets: Tensor | None) -> int:
    return rows.shape[0] if offsets is None else offsets.shape[0] - 1


@forget_mult_backward.register_fake
def _(
    gh: Tensor,
    f: Tensor,
    h: Tensor,
    h0: Tensor | None,
    offsets: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    width = f.shape[-1]
    gh0 = f.new_empty(_count(f, offsets), width)
    return _empty_rows(f, width), _empty_rows(f, width), gh0


def _save_forget_mult(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    f, _, h0, offsets, lengths, ctx.reverse = inputs
    ctx.save_for_backward(f, output, h0, offsets, lengths)


def _forget_mult_gradients(ctx: Any, gh: Tensor) -> tuple[Any, ...]:
    f, h, h0, offsets, lengths = ctx.saved_tensors
    gf, gx, gh0 = forget_mult_backward(gh, f, h, h0, offsets, lengths, ctx.reverse)
    return gf, gx, gh0 if h0 is not None else None, None, None, None


forget_mult.register_autograd(_forget_mult_gradients, setup_context=_save_forget_mult)


def _before(h: Tensor, h0: Tensor, is_first: Tensor, reverse: bool) -> Tensor:
    """Row t holds the state that step t starts from."""
    time = h.dim() - 2
    shifted = torch.roll(h, -1 if reverse else 1, time)
    start = h0 if h.dim() == 2 else h0.unsqueeze(1).expand_as(h)
    return torch.where(is_first, start, shifted)


def _first_steps(
    f: Tensor, offsets: Tensor | None, lengths: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Masks [.., 1] of first and of valid steps, and for ragged rows the sequence of each."""
    if offsets is None:
        batch, time, _ = f.shape
        steps = torch.arange(time).unsqueeze(0)
        ends = torch.full((batch, 1), time) if lengths is None else lengths.unsqueeze(1)
        first = steps == (ends - 1 if reverse else 0)
        return first.unsqueeze(-1), (steps < ends).unsqueeze(-1), None
    rows = torch.arange(f.shape[0])
    owner = torch.searchsorted(offsets, rows, right=True) - 1
    edge = offsets[1:][owner] - 1 if reverse else offsets[:-1][owner]
    return (rows == edge).unsqueeze(-1), torch.ones_like(rows, dtype=torch.bool)[:, None], owner


def _save_forget_mult_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    _, f, h, h0, offsets, lengths, ctx.reverse = inputs
    ctx.save_for_backward(f, h, h0, offsets, lengths, output[1])


def _forget_mult_second_gradients(
    ctx: Any, ggf: Tensor, ggx: Tensor, ggh0: Tensor
) -> tuple[Any, ...]:
    # With g = gx: g[t] = gh[t] + f[t+1] g[t+1], gf[t] = g[t] h[t-1], gh0 = f[0] g[0]. The adjoint
    # a of g is the same scan run the other way: a[t] = f[t] a[t-1] + ggx[t] + ggf[t] h[t-1], with
    # a[-1] = ggh0. Everything below is differentiable, so derivatives of any order follow.
    f, h, h0, offsets, lengths, g = ctx.saved_tensors
    first, valid, owner = _first_steps(f, offsets, lengths, ctx.reverse)

    def per_row(state: Tensor) -> Tensor:
        return state if owner is None else state[owner]

    start = torch.zeros_like(ggh0) if h0 is None else h0
    source = torch.where(valid, ggx + ggf * _before(h, per_row(start), first, ctx.reverse), 0)
    a = forget_mult(f, source, ggh0, offsets, lengths, ctx.reverse)
    gf = torch.where(valid, _before(a, per_row(ggh0), first, ctx.reverse) * g, 0)
    through_state = torch.where(valid, ggf * g, 0)
    gh = torch.roll(torch.where(first, 0, through_state), 1 if ctx.reverse else -1, f.dim() - 2)
    if h0 is None:
        return a, gf, gh, None, None, None, None
    at_first = torch.where(first, through_state, 0)
    if owner is None:
        gh0 = at_first.sum(1)
    else:
        gh0 = torch.zeros_like(h0).index_add(0, owner, at_first)
    return a, gf, gh, gh0, None, None, None


forget_mult_backward.register_autograd(
    _forget_mult_second_gradients, setup_context=_save_forget_mult_backward
)


# --- Poolings -------------------------------------------------------------------------------------


def _check_kind(pooling: str, direction: str) -> None:
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of 'f', 'fo', 'ifo', got {pooling!r}")
    if direction not in ("forward", "backward", "both"):
        raise ValueError(f"direction must be 'forward', 'backward' or 'both', got {direction!r}")


def _shape(
    sequences: _Sequences,
    width: int,
    like: Tensor,
    *,
    pooling: str,
    direction: str,
    taps: int = 1,
    zoneout: float = 0.0,
    seed: Tensor | None = None,
) -> Any:
    _check_kind(pooling, direction)
    if not 0.0 <= zoneout < 1.0:
        raise ValueError(f"zoneout must be in [0, 1), got {zoneout!r}")
    if zoneout and seed is None:
        raise ValueError(f"zoneout={zoneout!r} needs a seed")
    return _core.PoolShape(
        sequences=sequences.arguments,
        width=width,
        direction=direction,
        pooling=POOLINGS.index(pooling),
        taps=taps,
        element=_ELEMENTS[like.dtype],
        zoneout=min(round(zoneout * 2**32), 2**32 - 1),
        seed=int(seed) % 2**64 if zoneout and seed is not None else 0,
        threads=_threads(like),
    )


def _refuse_second_gradients(ctx: Any, *_: Any) -> Any:
    raise NotImplementedError(
        "QRNN pooling has no second derivatives; forget_mult has them: write the pooling with it"
    )


def _save_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    pass


@custom_op("pqrnn_native::qrnn_pool", mutates_args=(), device_types="cpu")
def qrnn_pool(
    z: Tensor,
    f: Tensor,
    o: Tensor | None,
    i: Tensor | None,
    h0: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    zoneout: float,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """``(h, c, last)`` of gates that are activated already; pooling f leaves c empty."""
    z = _dense(z)
    gates = (z, _rows("f", f, z), o, i)
    o, i = (g if g is None else _rows(n, g, z) for n, g in (("o", o), ("i", i)))
    if i is not None and o is None:
        raise ValueError("o must be given when i is, got None")
    sequences = _Sequences(z, None, lengths)
    width = z.shape[-1]
    h0 = _state("h0", h0, z, (sequences.count, width))
    pooling = _pooling_of(o, i)
    shape = _shape(
        sequences,
        width,
        z,
        pooling=pooling,
        direction="backward" if reverse else "forward",
        zoneout=zoneout,
        seed=seed,
    )
    h = _new_rows(z, width)
    c = None if pooling == "f" else _new_rows(z, width)
    last = torch.empty(sequences.count, width, dtype=z.dtype)
    gates = (z, gates[1], o, i)
    _core.pool_forward(
        shape, tuple(map(_view, gates)), _address(h0), _view(h), _view(c), _address(last)
    )
    return h, torch.empty(0, dtype=z.dtype) if c is None else c, last


def _pooling_of(o: Tensor | None, i: Tensor | None) -> str:
    return "f" if o is None else "fo" if i is None else "ifo"


@qrnn_pool.register_fake
def _(
    z: Tensor,
    f: Tensor,
    o: Tensor | None,
    i: Tensor | None,
    h0: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    zoneout: float,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    width = z.shape[-1]
    c = z.new_empty(0) if o is None else _empty_rows(z, width)
    return _empty_rows(z, width), c, z.new_empty(z.shape[0], width)


@custom_op("pqrnn_native::qrnn_pool_backward", mutates_args=(), device_types="cpu")
def qrnn_pool_backward(
    gh: Tensor | None,
    gc: Tensor | None,
    glast: Tensor | None,
    z: Tensor,
    f: Tensor,
    o: Tensor | None,
    i: Tensor | None,
    h0: Tensor | None,
    states: Tensor,
    lengths: Tensor | None,
    seed: Tensor | None,
    zoneout: float,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of z, f, o, i (empty when absent) and h0."""
    z = _dense(z)
    f = _rows("f", f, z)
    o, i = (g if g is None else _rows(n, g, z) for n, g in (("o", o), ("i", i)))
    sequences = _Sequences(z, None, lengths)
    width = z.shape[-1]
    count = sequences.count
    gh = torch.zeros_like(z) if gh is None else _rows("gh", gh, z)
    gc = None if gc is None or gc.numel() == 0 else _rows("gc", gc, z)
    glast = _state("glast", glast, z, (count, width))
    h0 = _state("h0", h0, z, (count, width))
    shape = _shape(
        sequences,
        width,
        z,
        pooling=_pooling_of(o, i),
        direction="backward" if reverse else "forward",
        zoneout=zoneout,
        seed=seed,
    )
    gates = (z, f, o, i)
    gradients = [None if g is None else _new_rows(z, width) for g in gates]
    gh0 = torch.empty(count, width, dtype=z.dtype)
    _core.pool_backward(
        shape,
        tuple(map(_view, gates)),
        _view(gh),
        _view(gc),
        _address(glast),
        _address(h0),
        _view(_dense(states)),
        tuple(map(_view, gradients)),
        _address(gh0),
    )
    gz, gf, go, gi = (torch.empty(0, dtype=z.dtype) if g is None else g for g in gradients)
    return gz, gf, go, gi, gh0


@qrnn_pool_backward.register_fake
def _(
    gh: Tensor | None,
    gc: Tensor | None,
    glast: Tensor | None,
    z: Tensor,
    f: Tensor,
    o: Tensor | None,
    i: Tensor | None,
    h0: Tensor | None,
    states: Tensor,
    lengths: Tensor | None,
    seed: Tensor | None,
    zoneout: float,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    width = z.shape[-1]
    go, gi = (z.new_empty(0) if g is None else _empty_rows(z, width) for g in (o, i))
    gh0 = z.new_empty(z.shape[0], width)
    return _empty_rows(z, width), _empty_rows(z, width), go, gi, gh0


def _save_qrnn_pool(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    z, f, o, i, h0, lengths, seed, ctx.zoneout, ctx.reverse = inputs
    h, c, _ = output
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(z, f, o, i, h0, h if o is None else c, lengths, seed)


def _qrnn_pool_gradients(
    ctx: Any, gh: Tensor | None, gc: Tensor | None, glast: Tensor | None
) -> tuple[Any, ...]:
    z, f, o, i, h0, states, lengths, seed = ctx.saved_tensors
    gz, gf, go, gi, gh0 = qrnn_pool_backward(
        gh, gc, glast, z, f, o, i, h0, states, lengths, seed, ctx.zoneout, ctx.reverse
    )
    optional = (g if of is not None else None for g, of in ((go, o), (gi, i), (gh0, h0)))
    return gz, gf, *optional, None, None, None, None


qrnn_pool.register_autograd(_qrnn_pool_gradients, setup_context=_save_qrnn_pool)
qrnn_pool_backward.register_autograd(_refuse_second_gradients, setup_context=_save_nothing)


# --- Pooling of packed pre-activations ------------------------------------------------------------
#
# gates [.., D * k * G * H]: direction d, tap j, gate g have the H channels at ((d*k + j)*G + g)*H.
# The pre-activation of step t is the sum over taps of rows t-k+1..t (forward) or t..t+k-1
# (backward), which turns a convolution into one matrix product over the tokens as they lie.


def _directions(direction: str) -> int:
    return 2 if direction == "both" else 1


def _packed_width(gates: Tensor, hidden: int, taps: int, pooling: str, direction: str) -> int:
    """Channels of normalised pre-activations, D * G * H."""
    _check_kind(pooling, direction)
    if hidden < 1 or taps < 1:
        raise ValueError(f"hidden and taps must be at least 1, got {hidden} and {taps}")
    channels = _directions(direction) * _GATES[pooling] * hidden
    if gates.shape[-1] != channels * taps:
        raise ValueError(
            f"gates must have {channels * taps} channels for hidden={hidden}, taps={taps}, "
            f"pooling={pooling!r}, direction={direction!r}, got {gates.shape[-1]}"
        )
    return channels


def _check_real(name: str, value: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if value.dtype != _real(dtype) or tuple(value.shape) != shape:
        raise ValueError(
            f"{name} must be {_real(dtype)} of shape {shape}, "
            f"got {value.dtype} of shape {tuple(value.shape)}"
        )
    return value.contiguous()


@custom_op("pqrnn_native::gate_pool", mutates_args=(), device_types="cpu")
def gate_pool(
    gates: Tensor,
    coefficients: Tensor,
    h0: Tensor | None,
    offsets: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    hidden: int,
    taps: int,
    pooling: str,
    direction: str,
    zoneout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``(h, c, last)`` from pre-activations: sum of taps, ``(p - mean) * scale + shift``, pooling.

    ``coefficients`` [3, D * G * H] holds mean, scale and shift in float32 (float64 for float64).
    h and c are [.., D * H], h0 and last [n, D, H]. Pooling f leaves c empty.
    """
    gates = _dense(gates)
    channels = _packed_width(gates, hidden, taps, pooling, direction)
    coefficients = _check_real("coefficients", coefficients, gates.dtype, (3, channels))
    sequences = _Sequences(gates, offsets, lengths)
    directions = _directions(direction)
    state = (sequences.count, directions, hidden)
    h0 = _state("h0", h0, gates, state)
    shape = _shape(
        sequences,
        hidden,
        gates,
        pooling=pooling,
        direction=direction,
        taps=taps,
        zoneout=zoneout,
        seed=seed,
    )
    h = _new_rows(gates, directions * hidden)
    c = None if pooling == "f" else _new_rows(gates, directions * hidden)
    last = torch.empty(state, dtype=gates.dtype)
    _core.gate_pool_forward(
        shape,
        _view(gates),
        _address(coefficients),
        _address(h0),
        _view(h),
        _view(c),
        _address(last),
    )
    return h, torch.empty(0, dtype=gates.dtype) if c is None else c, last


def _fake_pool(
    gates: Tensor, offsets: Tensor | None, hidden: int, pooling: str, direction: str
) -> tuple[Tensor, Tensor, Tensor]:
    directions = _directions(direction)
    c = gates.new_empty(0) if pooling == "f" else _empty_rows(gates, directions * hidden)
    last = gates.new_empty(_count(gates, offsets), directions, hidden)
    return _empty_rows(gates, directions * hidden), c, last


@gate_pool.register_fake
def _(
    gates: Tensor,
    coefficients: Tensor,
    h0: Tensor | None,
    offsets: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    hidden: int,
    taps: int,
    pooling: str,
    direction: str,
    zoneout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return _fake_pool(gates, offsets, hidden, pooling, direction)


@custom_op("pqrnn_native::gate_pool_backward", mutates_args=(), device_types="cpu")
def gate_pool_backward(
    gh: Tensor | None,
    gc: Tensor | None,
    glast: Tensor | None,
    gates: Tensor,
    coefficients: Tensor,
    h0: Tensor | None,
    states: Tensor,
    offsets: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    hidden: int,
    taps: int,
    pooling: str,
    direction: str,
    zoneout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of gates and h0, and the sums [2, D * G * H] over all steps of dy, dy * (p - mean).

    dy is the gradient of ``(p - mean) * scale + shift``.
    """
    gates, states = _dense(gates), _dense(states)
    channels = _packed_width(gates, hidden, taps, pooling, direction)
    coefficients = _check_real("coefficients", coefficients, gates.dtype, (3, channels))
    sequences = _Sequences(gates, offsets, lengths)
    state = (sequences.count, _directions(direction), hidden)
    gh = torch.zeros_like(states) if gh is None else _rows("gh", gh, states)
    gc = None if gc is None or gc.numel() == 0 else _rows("gc", gc, states)
    glast = _state("glast", glast, gates, state)
    h0 = _state("h0", h0, gates, state)
    shape = _shape(
        sequences,
        hidden,
        gates,
        pooling=pooling,
        direction=direction,
        taps=taps,
        zoneout=zoneout,
        seed=seed,
    )
    gradient = _new_rows(gates, gates.shape[-1])
    gh0 = torch.empty(state, dtype=gates.dtype)
    groups = -(-sequences.count // _core.SEQUENCE_GROUP)
    # Zeros: gates without rows have no address, and kernels take that for an absent gate.
    sums = torch.zeros(groups, 2, channels, dtype=_real(gates.dtype))
    _core.gate_pool_backward(
        shape,
        _view(gates),
        _address(coefficients),
        _view(gh),
        _view(gc),
        _address(glast),
        _address(h0),
        _view(states),
        _view(gradient),
        _address(gh0),
        _address(sums),
    )
    return gradient, gh0, sums.sum(0)


def _fake_pool_backward(
    gates: Tensor, offsets: Tensor | None, hidden: int, direction: str, channels: int
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        _empty_rows(gates, gates.shape[-1]),
        gates.new_empty(_count(gates, offsets), _directions(direction), hidden),
        gates.new_empty(2, channels, dtype=_real(gates.dtype)),
    )


@gate_pool_backward.register_fake
def _(
    gh: Tensor | None,
    gc: Tensor | None,
    glast: Tensor | None,
    gates: Tensor,
    coefficients: Tensor,
    h0: Tensor | None,
    states: Tensor,
    offsets: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    hidden: int,
    taps: int,
    pooling: str,
    direction: str,
    zoneout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return _fake_pool_backward(gates, offsets, hidden, direction, coefficients.shape[1])


def _save_gate_pool(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    gates, coefficients, h0, offsets, lengths, seed, *ctx.settings = inputs
    h, c, _ = output
    pooling = inputs[8]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(
        gates, coefficients, h0, h if pooling == "f" else c, offsets, lengths, seed
    )


def _gate_pool_gradients(
    ctx: Any, gh: Tensor | None, gc: Tensor | None, glast: Tensor | None
) -> tuple[Any, ...]:
    gates, coefficients, h0, states, offsets, lengths, seed = ctx.saved_tensors
    gradient, gh0, sums = gate_pool_backward(
        gh, gc, glast, gates, coefficients, h0, states, offsets, lengths, seed, *ctx.settings
    )
    g_coefficients = None
    if ctx.needs_input_grad[1]:
        # y = (p - mean) * scale + shift, summed over steps
        g_coefficients = torch.stack((-coefficients[1] * sums[0], sums[1], sums[0]))
    return gradient, g_coefficients, None if h0 is None else gh0, *(None,) * 8


gate_pool.register_autograd(_gate_pool_gradients, setup_context=_save_gate_pool)
gate_pool_backward.register_autograd(_refuse_second_gradients, setup_context=_save_nothing)


# --- The same with batch norm over the valid rows -------------------------------------------------


def _row_counts(sequences: _Sequences, rows: Tensor) -> Tensor:
    """Valid rows of each group of sequences that one kernel task sums over."""
    lengths = sequences.lengths(rows)
    groups = -(-sequences.count // _core.SEQUENCE_GROUP)
    padded = torch.zeros(groups * _core.SEQUENCE_GROUP, dtype=torch.float64)
    padded[: sequences.count] = lengths
    return padded.view(groups, _core.SEQUENCE_GROUP).sum(1)


@custom_op("pqrnn_native::norm_gate_pool", mutates_args=(), device_types="cpu")
def norm_gate_pool(
    gates: Tensor,
    weight: Tensor,
    bias: Tensor,
    h0: Tensor | None,
    offsets: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    hidden: int,
    taps: int,
    pooling: str,
    direction: str,
    zoneout: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """:func:`gate_pool` with the batch's own statistics, as batch norm does in training.

    Returns ``(h, c, last, summed, moments)``: the pre-activations with taps summed (empty for one
    tap) and [2, D * G * H] mean and variance over the valid rows of each direction. The last two
    carry no gradient of their own.
    """
    gates = _dense(gates)
    channels = _packed_width(gates, hidden, taps, pooling, direction)
    weight = _check_real("weight", weight, gates.dtype, (channels,))
    bias = _check_real("bias", bias, gates.dtype, (channels,))
    sequences = _Sequences(gates, offsets, lengths)
    shape = _shape(sequences, hidden, gates, pooling=pooling, direction=direction, taps=taps)
    summed = None if taps == 1 else _new_rows(gates, channels)
    groups = -(-sequences.count // _core.SEQUENCE_GROUP)
    partial = torch.empty(groups, 2, channels, dtype=torch.float64)
    _core.gate_moments(
        shape,
        channels // _directions(direction),
        _view(gates),
        _view(summed),
        _address(partial),
    )
    rows = _row_counts(sequences, gates)
    total = rows.sum().clamp(min=1)
    mean = (rows @ partial[:, 0]) / total
    between = rows @ (partial[:, 0] - mean).square()
    variance = (partial[:, 1].sum(0) + between) / total
    scale = weight * torch.rsqrt(variance + eps)
    coefficients = torch.stack((mean, scale, bias)).to(weight.dtype)
    h, c, last = gate_pool(
        gates if summed is None else summed,
        coefficients,
        h0,
        offsets,
        lengths,
        seed,
        hidden,
        1,
        pooling,
        direction,
        zoneout,
    )
    moments = torch.stack((mean, variance)).to(weight.dtype)
    return h, c, last, torch.empty(0, dtype=gates.dtype) if summed is None else summed, moments


@norm_gate_pool.register_fake
def _(
    gates: Tensor,
    weight: Tensor,
    bias: Tensor,
    h0: Tensor | None,
    offsets: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    hidden: int,
    taps: int,
    pooling: str,
    direction: str,
    zoneout: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    channels = weight.shape[0]
    summed = gates.new_empty(0) if taps == 1 else _empty_rows(gates, channels)
    moments = weight.new_empty(2, channels)
    return *_fake_pool(gates, offsets, hidden, pooling, direction), summed, moments


@custom_op("pqrnn_native::norm_gate_pool_backward", mutates_args=(), device_types="cpu")
def norm_gate_pool_backward(
    gh: Tensor | None,
    gc: Tensor | None,
    glast: Tensor | None,
    summed: Tensor,
    moments: Tensor,
    weight: Tensor,
    bias: Tensor,
    h0: Tensor | None,
    states: Tensor,
    offsets: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    hidden: int,
    taps: int,
    pooling: str,
    direction: str,
    zoneout: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of gates and h0, and the sums of :func:`gate_pool_backward`."""
    summed = _dense(summed)
    mean, rstd = moments[0], torch.rsqrt(moments[1] + eps)
    scale = weight * rstd
    dy, gh0, sums = gate_pool_backward(
        gh,
        gc,
        glast,
        summed,
        torch.stack((mean, scale, bias)),
        h0,
        states,
        offsets,
        lengths,
        seed,
        hidden,
        1,
        pooling,
        direction,
        zoneout,
    )
    # dy has passed through scale. Batch norm's gradient is
    #   scale * (dy - average(dy) - (p - mean) * rstd^2 * average(dy * (p - mean)))
    sequences = _Sequences(summed, offsets, lengths)
    rows = sequences.lengths(summed).sum().clamp(min=1)
    offset = -scale * sums[0] / rows
    slope = -scale * rstd.square() * sums[1] / rows
    coefficients = torch.stack((mean, offset, slope)).to(weight.dtype)
    channels = summed.shape[-1]
    gradient = dy if taps == 1 else _new_rows(summed, channels * taps)
    shape = _shape(sequences, hidden, summed, pooling=pooling, direction=direction, taps=taps)
    _core.gate_norm_backward(
        shape,
        channels // _directions(direction),
        _view(summed),
        _view(dy),
        _address(coefficients),
        _view(gradient),
    )
    return gradient, gh0, sums


@norm_gate_pool_backward.register_fake
def _(
    gh: Tensor | None,
    gc: Tensor | None,
    glast: Tensor | None,
    summed: Tensor,
    moments: Tensor,
    weight: Tensor,
    bias: Tensor,
    h0: Tensor | None,
    states: Tensor,
    offsets: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    hidden: int,
    taps: int,
    pooling: str,
    direction: str,
    zoneout: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    channels = weight.shape[0]
    _, gh0, sums = _fake_pool_backward(summed, offsets, hidden, direction, channels)
    return _empty_rows(summed, channels * taps), gh0, sums


def _save_norm_gate_pool(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    gates, weight, bias, h0, offsets, lengths, seed, *ctx.settings = inputs
    h, c, _, summed, moments = output
    taps, pooling = inputs[8:10]
    ctx.mark_non_differentiable(summed, moments)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(
        gates if taps == 1 else summed,
        moments,
        weight,
        bias,
        h0,
        h if pooling == "f" else c,
        offsets,
        lengths,
        seed,
    )


def _norm_gate_pool_gradients(
    ctx: Any, gh: Tensor | None, gc: Tensor | None, glast: Tensor | None, *_: Any
) -> tuple[Any, ...]:
    summed, moments, weight, bias, h0, states, offsets, lengths, seed = ctx.saved_tensors
    gradient, gh0, sums = norm_gate_pool_backward(
        gh,
        gc,
        glast,
        summed,
        moments,
        weight,
        bias,
        h0,
        states,
        offsets,
        lengths,
        seed,
        *ctx.settings,
    )
    eps = ctx.settings[-1]
    g_weight = sums[1] * torch.rsqrt(moments[1] + eps)
    return gradient, g_weight, sums[0].clone(), None if h0 is None else gh0, *(None,) * 9


norm_gate_pool.register_autograd(_norm_gate_pool_gradients, setup_context=_save_norm_gate_pool)
norm_gate_pool_backward.register_autograd(_refuse_second_gradients, setup_context=_save_nothing)


# --- Attention pooling ----------------------------------------------------------------------------


def _check_heads(width: int, heads: int) -> None:
    if heads < 1 or width % heads:
        raise ValueError(f"the number of heads must divide the width {width}, got {heads}")


@custom_op("pqrnn_native::attend", mutates_args=(), device_types="cpu")
def attend(
    states: Tensor, logits: Tensor, offsets: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """``v[n, p] = sum_t w[t, head of p] * states[t, p]`` and ``w = softmax_t(logits)``.

    states [.., P], logits [.., A]; v [n, P] (zero without tokens), w as logits.
    """
    states, logits = _dense(states), _dense(logits)
    if logits.dtype != states.dtype or logits.shape[:-1] != states.shape[:-1]:
        raise ValueError(
            f"logits must be {states.dtype} of shape {(*states.shape[:-1], 'heads')}, "
            f"got {logits.dtype} of shape {tuple(logits.shape)}"
        )
    width, heads = states.shape[-1], logits.shape[-1]
    _check_heads(width, heads)
    sequences = _Sequences(states, offsets, lengths)
    weights = _new_rows(logits, heads)
    pooled = torch.empty(sequences.count, width, dtype=states.dtype)
    _core.attend_forward(
        sequences.arguments,
        width,
        heads,
        _ELEMENTS[states.dtype],
        _threads(states),
        _view(states),
        _view(logits),
        _view(weights),
        _address(pooled),
    )
    return pooled, weights


@attend.register_fake
def _(
    states: Tensor, logits: Tensor, offsets: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    pooled = states.new_empty(_count(states, offsets), states.shape[-1])
    return pooled, _empty_rows(logits, logits.shape[-1])


@custom_op("pqrnn_native::attend_backward", mutates_args=(), device_types="cpu")
def attend_backward(
    gpooled: Tensor,
    states: Tensor,
    weights: Tensor,
    offsets: Tensor | None,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Gradients of states and logits."""
    states, weights = _dense(states), _dense(weights)
    width, heads = states.shape[-1], weights.shape[-1]
    sequences = _Sequences(states, offsets, lengths)
    gstates, glogits = _new_rows(states, width), _new_rows(weights, heads)
    gpooled = gpooled.contiguous()
    _core.attend_backward(
        sequences.arguments,
        width,
        heads,
        _ELEMENTS[states.dtype],
        _threads(states),
        _address(gpooled),
        _view(states),
        _view(weights),
        _view(gstates),
        _view(glogits),
    )
    return gstates, glogits


@attend_backward.register_fake
def _(
    gpooled: Tensor,
    states: Tensor,
    weights: Tensor,
    offsets: Tensor | None,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor]:
    return _empty_rows(states, states.shape[-1]), _empty_rows(weights, weights.shape[-1])


def _save_attend(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    states, _, offsets, lengths = inputs
    _, weights = output
    ctx.mark_non_differentiable(weights)
    ctx.save_for_backward(states, weights, offsets, lengths)


def _attend_gradients(ctx: Any, gpooled: Tensor, _: Any) -> tuple[Any, ...]:
    states, weights, offsets, lengths = ctx.saved_tensors
    return *attend_backward(gpooled, states, weights, offsets, lengths), None, None


attend.register_autograd(_attend_gradients, setup_context=_save_attend)
attend_backward.register_autograd(_refuse_second_gradients, setup_context=_save_nothing)


# Under autocast these see the low precision of a product in one argument and float32 in another;
# gates near 1 need float32. gate_pool takes what the product gives: its float32 sums are inside.
for _name in ("forget_mult", "qrnn_pool"):
    register_autocast(f"pqrnn_native::{_name}", "cpu", torch.float32)
