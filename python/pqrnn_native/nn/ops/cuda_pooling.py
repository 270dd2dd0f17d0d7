"""The scan and the poolings of activated gates on CUDA devices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ... import cuda
from .cuda_layout import (
    ABSENT,
    PoolPlan,
    Sequences,
    address_of,
    checked,
    checked_rows,
    checked_state,
    is_narrow,
    narrowed,
    queue_of,
    views_of,
    widened,
)
from .layout import empty_rows, kept_states, view_of
from .pooling import qrnn_pool, qrnn_pool_backward
from .scan import forget_mult, forget_mult_backward


def _gates(
    z: Tensor, f: Tensor, o: Tensor | None, i: Tensor | None
) -> tuple[tuple[Tensor | None, ...], str]:
    if i is not None and o is None:
        raise ValueError("o must be given when i is, got None")
    z = checked(z)
    others = (("f", f), ("o", o), ("i", i))
    gates = (z, *(None if g is None else checked_rows(name, g, z) for name, g in others))
    return gates, "f" if o is None else "fo" if i is None else "ifo"


def _pool(
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
    if is_narrow(z.dtype) and z.shape[-1] % 2:
        wide: Any = (*widened((z, f, o, i, h0)), lengths, seed, zoneout, reverse)
        return narrowed(_pool(*wide), z.dtype)
    gates, pooling = _gates(z, f, o, i)
    z = checked(z)
    sequences = Sequences(z, None, lengths)
    width = z.shape[-1]
    h0 = checked_state("h0", h0, z, (sequences.count, width))
    direction = "backward" if reverse else "forward"
    plan = PoolPlan(
        sequences, width, z, pooling=pooling, direction=direction, zoneout=zoneout, seed=seed
    )
    h, last = empty_rows(z, width), z.new_empty(sequences.count, width)
    c = kept_states(z, None, pooling, width)
    cuda.module().pool_forward(
        queue_of(z), plan.shape, views_of(gates), address_of(h0), view_of(h), address_of(c),
        address_of(last),
    )  # fmt: skip
    return h, c, last


def _pool_backward(
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
    if is_narrow(z.dtype) and z.shape[-1] % 2:
        wide: Any = widened((gh, gc, glast, z, f, o, i, h0, states))
        wide = (*wide, lengths, seed, zoneout, reverse)
        return narrowed(_pool_backward(*wide), z.dtype)
    gates, pooling = _gates(z, f, o, i)
    z = checked(z)
    sequences = Sequences(z, None, lengths)
    width = z.shape[-1]
    shape = (sequences.count, width)
    gh = torch.zeros_like(z) if gh is None else checked_rows("gh", gh, z)
    glast = checked_state("glast", glast, z, shape)
    h0 = checked_state("h0", h0, z, shape)
    direction = "backward" if reverse else "forward"
    plan = PoolPlan(
        sequences, width, z, pooling=pooling, direction=direction, zoneout=zoneout, seed=seed
    )
    gradients = tuple(None if g is None else empty_rows(z, width) for g in gates)
    gh0 = z.new_empty(shape)
    cuda.module().pool_backward(
        queue_of(z), plan.shape, views_of(gates), view_of(gh), address_of(glast), address_of(h0),
        ABSENT, address_of(states.contiguous()), views_of(gradients), address_of(gh0),
    )  # fmt: skip
    gz, gf, go, gi = (z.new_empty(0) if g is None else g for g in gradients)
    return gz, gf, go, gi, gh0


def _scan(
    f: Tensor,
    x: Tensor,
    h0: Tensor | None,
    offsets: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
) -> Tensor:
    if is_narrow(f.dtype) and f.shape[-1] % 2:
        wide: Any = (*widened((f, x, h0)), offsets, lengths, reverse)
        return _scan(*wide).to(f.dtype)
    f, x = checked(f), checked_rows("x", x, f)
    sequences = Sequences(f, offsets, lengths)
    width = f.shape[-1]
    h0 = checked_state("h0", h0, f, (sequences.count, width))
    plan = _scan_plan(sequences, width, f, reverse)
    h = empty_rows(f, width)
    cuda.module().pool_forward(
        queue_of(f), plan.shape, views_of((x, f, None, None)), address_of(h0), view_of(h), 0, 0
    )
    return h


def _scan_plan(sequences: Sequences, width: int, like: Tensor, reverse: bool) -> PoolPlan:
    direction = "backward" if reverse else "forward"
    return PoolPlan(sequences, width, like, pooling="scan", direction=direction)


def _scan_backward(
    gh: Tensor,
    f: Tensor,
    h: Tensor,
    h0: Tensor | None,
    offsets: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    if is_narrow(f.dtype) and f.shape[-1] % 2:
        wide: Any = (*widened((gh, f, h, h0)), offsets, lengths, reverse)
        return narrowed(_scan_backward(*wide), f.dtype)
    f, h, gh = checked(f), checked_rows("h", h, f), checked_rows("gh", gh, f)
    sequences = Sequences(f, offsets, lengths)
    width = f.shape[-1]
    h0 = checked_state("h0", h0, f, (sequences.count, width))
    plan = _scan_plan(sequences, width, f, reverse)
    gf, gx = empty_rows(f, width), empty_rows(f, width)
    gh0 = f.new_empty(sequences.count, width)
    # A scan's gradient does not depend on x: any view serves.
    gates: tuple[Any, ...] = (f, f, None, None)
    cuda.module().pool_backward(
        queue_of(f), plan.shape, views_of(gates), view_of(gh), 0, address_of(h0), view_of(h), 0,
        views_of((gx, gf, None, None)), address_of(gh0),
    )  # fmt: skip
    return gf, gx, gh0


qrnn_pool.register_kernel("cuda")(_pool)
qrnn_pool_backward.register_kernel("cuda")(_pool_backward)
forget_mult.register_kernel("cuda")(_scan)
forget_mult_backward.register_kernel("cuda")(_scan_backward)
