"""QRNN pooling of activated gates: f, fo and ifo."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from ... import _core
from .layout import (
    ELEMENTS,
    POOLINGS,
    Sequences,
    address_of,
    checked,
    checked_probability,
    checked_rows,
    checked_state,
    empty_rows,
    kept_states,
    new_rows,
    saved_states,
    seed_of,
    threads_for,
    threshold_of,
    view_of,
)


def check_kind(pooling: str, direction: str) -> None:
    """Raise ValueError for an unknown pooling or direction."""
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of 'f', 'fo', 'ifo', got {pooling!r}")
    if direction not in ("forward", "backward", "both"):
        raise ValueError(f"direction must be 'forward', 'backward' or 'both', got {direction!r}")


def pool_shape(
    sequences: Sequences,
    width: int,
    like: Tensor,
    *,
    pooling: str,
    direction: str,
    taps: int = 1,
    zoneout: float = 0.0,
    seed: Tensor | None = None,
) -> Any:
    """The kernel's description of a pooling, checked."""
    check_kind(pooling, direction)
    checked_probability("zoneout", zoneout)
    if zoneout and seed is None:
        raise ValueError(f"zoneout={zoneout!r} needs a seed")
    return _core.PoolShape(
        sequences=sequences.arguments,
        width=width,
        direction=direction,
        pooling=POOLINGS.index(pooling),
        taps=taps,
        element=ELEMENTS[like.dtype],
        zoneout=threshold_of(zoneout),
        seed=seed_of(seed) if zoneout and seed is not None else 0,
        threads=threads_for(like),
    )


def refuse_second_gradients(ctx: Any, *_: Any) -> Any:
    """The autograd formula of operators without second derivatives."""
    raise NotImplementedError(
        "QRNN pooling has no second derivatives; forget_mult has them: write the pooling with it"
    )


def save_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Their context."""


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
    """``(h, c, last)`` of gates that are activated already; c is :func:`.layout.kept_states`."""
    z = checked(z)
    gates = (z, checked_rows("f", f, z), o, i)
    o, i = (g if g is None else checked_rows(n, g, z) for n, g in (("o", o), ("i", i)))
    if i is not None and o is None:
        raise ValueError("o must be given when i is, got None")
    sequences = Sequences(z, None, lengths)
    width = z.shape[-1]
    h0 = checked_state("h0", h0, z, (sequences.count, width))
    pooling = _pooling_of(o, i)
    shape = pool_shape(
        sequences,
        width,
        z,
        pooling=pooling,
        direction="backward" if reverse else "forward",
        zoneout=zoneout,
        seed=seed,
    )
    h = new_rows(z, width)
    c = None if pooling == "f" else new_rows(z, width)
    last = torch.empty(sequences.count, width, dtype=z.dtype)
    gates = (z, gates[1], o, i)
    _core.pool_forward(
        shape, tuple(map(view_of, gates)), address_of(h0), view_of(h), view_of(c), address_of(last)
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
    c = kept_states(z, None, _pooling_of(o, i), width)
    return empty_rows(z, width), c, z.new_empty(z.shape[0], width)


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
    z = checked(z)
    f = checked_rows("f", f, z)
    o, i = (g if g is None else checked_rows(n, g, z) for n, g in (("o", o), ("i", i)))
    sequences = Sequences(z, None, lengths)
    width = z.shape[-1]
    count = sequences.count
    gh = torch.zeros_like(z) if gh is None else checked_rows("gh", gh, z)
    gc = None if gc is None or gc.numel() == 0 else checked_rows("gc", gc, z)
    glast = checked_state("glast", glast, z, (count, width))
    h0 = checked_state("h0", h0, z, (count, width))
    shape = pool_shape(
        sequences,
        width,
        z,
        pooling=_pooling_of(o, i),
        direction="backward" if reverse else "forward",
        zoneout=zoneout,
        seed=seed,
    )
    gates = (z, f, o, i)
    gradients = [None if g is None else new_rows(z, width) for g in gates]
    gh0 = torch.empty(count, width, dtype=z.dtype)
    _core.pool_backward(
        shape,
        tuple(map(view_of, gates)),
        view_of(gh),
        view_of(gc),
        address_of(glast),
        address_of(h0),
        view_of(checked(states)),
        tuple(map(view_of, gradients)),
        address_of(gh0),
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
    go, gi = (z.new_empty(0) if g is None else empty_rows(z, width) for g in (o, i))
    gh0 = z.new_empty(z.shape[0], width)
    return empty_rows(z, width), empty_rows(z, width), go, gi, gh0


def _save_qrnn_pool(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    z, f, o, i, h0, lengths, seed, ctx.zoneout, ctx.reverse = inputs
    h, c, _ = output
    ctx.set_materialize_grads(False)
    if c.device.type == "cuda":
        ctx.mark_non_differentiable(c)
    ctx.save_for_backward(z, f, o, i, h0, saved_states(h, c, _pooling_of(o, i)), lengths, seed)


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
qrnn_pool_backward.register_autograd(refuse_second_gradients, setup_context=save_nothing)
