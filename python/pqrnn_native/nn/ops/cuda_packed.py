"""Pooling of packed pre-activations on CUDA devices, with batch norm and without.

Kernels pool pre-activations whose taps are summed; more than one tap is summed before and spread
afterwards, by kernels of their own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ... import cuda
from .cuda_layout import (
    ABSENT,
    ELEMENTS,
    PoolPlan,
    Sequences,
    address_of,
    check_real,
    checked,
    checked_rows,
    checked_state,
    is_narrow,
    narrowed,
    queue_of,
    widened,
)
from .layout import empty_rows, kept_states, real_dtype, view_of
from .packed import direction_count, gate_pool, gate_pool_backward, packed_width
from .packed_norm import norm_gate_pool, norm_gate_pool_backward


def _sum_taps(
    gates: Tensor, sequences: Sequences, channels: int, taps: int, direction: str
) -> Tensor:
    """[.., D * k * G * H] to [.., D * G * H]."""
    if taps == 1:
        return gates
    summed = empty_rows(gates, channels)
    cuda.module().gate_moments(
        queue_of(gates), sequences.arguments, channels // direction_count(direction), direction,
        taps, ELEMENTS[gates.dtype], view_of(gates), view_of(summed), _row_blocks(gates), 0, 0, 0,
        0, 0, 0.0,
    )  # fmt: skip
    return summed


def _row_blocks(rows: Tensor) -> int:
    """Blocks of threads that share out the rows: at least 64 rows each, and enough for any card."""
    return max(1, min(rows.shape[:-1].numel() // 64, 512))


def _spread_taps(
    summed: Tensor,
    dy: Tensor,
    coefficients: Tensor | None,
    sequences: Sequences,
    taps: int,
    direction: str,
) -> Tensor:
    """The gradient of every tap from that of their sum, through batch norm given coefficients."""
    channels = summed.shape[-1]
    gradient = empty_rows(summed, channels * taps)
    cuda.module().spread_gates(
        queue_of(summed), sequences.arguments, channels // direction_count(direction), direction,
        taps, ELEMENTS[summed.dtype], view_of(summed), view_of(dy), address_of(coefficients),
        view_of(gradient),
    )  # fmt: skip
    return gradient


def _pool_summed(
    gates: Tensor,
    coefficients: Tensor,
    h0: Tensor | None,
    offsets: Tensor | None,
    sequences: Sequences,
    seed: Tensor | None,
    hidden: int,
    pooling: str,
    direction: str,
    zoneout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    directions = direction_count(direction)
    state = (sequences.count, directions, hidden)
    h0 = checked_state("h0", h0, gates, state)
    plan = PoolPlan(
        sequences, hidden, gates, pooling=pooling, direction=direction, zoneout=zoneout, seed=seed
    )
    h, last = empty_rows(gates, directions * hidden), gates.new_empty(state)
    c = kept_states(gates, offsets, pooling, directions * hidden)
    cuda.module().gate_pool_forward(
        queue_of(gates), plan.shape, view_of(gates), address_of(coefficients), address_of(h0),
        view_of(h), address_of(c), address_of(last),
    )  # fmt: skip
    return h, c, last


def _pool_summed_backward(
    gh: Tensor | None,
    glast: Tensor | None,
    gates: Tensor,
    coefficients: Tensor,
    h0: Tensor | None,
    states: Tensor,
    sequences: Sequences,
    seed: Tensor | None,
    hidden: int,
    pooling: str,
    direction: str,
    zoneout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    directions, channels = direction_count(direction), gates.shape[-1]
    state = (sequences.count, directions, hidden)
    like = empty_rows(gates, directions * hidden)
    gh = torch.zeros_like(like) if gh is None else checked_rows("gh", gh, like)
    glast = checked_state("glast", glast, gates, state)
    h0 = checked_state("h0", h0, gates, state)
    plan = PoolPlan(
        sequences, hidden, gates, pooling=pooling, direction=direction, zoneout=zoneout, seed=seed
    )
    gradient, gh0 = empty_rows(gates, channels), gates.new_empty(state)
    sums = gates.new_empty(
        sequences.count * plan.chunks, 2, channels, dtype=real_dtype(gates.dtype)
    )
    cuda.module().gate_pool_backward(
        queue_of(gates), plan.shape, view_of(gates), address_of(coefficients), view_of(gh),
        address_of(glast), address_of(h0), address_of(states.contiguous()), view_of(gradient),
        address_of(gh0), address_of(sums),
    )  # fmt: skip
    return gradient, gh0, sums.sum(0)


def _gate_pool(
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
    settings = (hidden, taps, pooling, direction, zoneout)
    if is_narrow(gates.dtype) and hidden % 2:
        wide, state = widened((gates, h0))
        found = _gate_pool(wide, coefficients, state, offsets, lengths, seed, *settings)
        return narrowed(found, gates.dtype)
    channels = packed_width(gates, hidden, taps, pooling, direction)
    coefficients = check_real("coefficients", coefficients, gates.dtype, (3, channels))
    gates = checked(gates)
    sequences = Sequences(gates, offsets, lengths)
    summed = _sum_taps(gates, sequences, channels, taps, direction)
    return _pool_summed(
        summed, coefficients, h0, offsets, sequences, seed, hidden, pooling, direction, zoneout
    )


def _gate_pool_backward(
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
    settings = (hidden, taps, pooling, direction, zoneout)
    if is_narrow(gates.dtype) and hidden % 2:
        wide: Any = (*widened((gh, gc, glast, gates)), coefficients, *widened((h0, states)))
        wide = (*wide, offsets, lengths, seed, *settings)
        return narrowed(_gate_pool_backward(*wide), gates.dtype, 2)
    channels = packed_width(gates, hidden, taps, pooling, direction)
    coefficients = check_real("coefficients", coefficients, gates.dtype, (3, channels))
    gates = checked(gates)
    sequences = Sequences(gates, offsets, lengths)
    summed = _sum_taps(gates, sequences, channels, taps, direction)
    gradient, gh0, sums = _pool_summed_backward(
        gh, glast, summed, coefficients, h0, states, sequences, seed, hidden, pooling, direction,
        zoneout,
    )  # fmt: skip
    if taps > 1:
        gradient = _spread_taps(summed, gradient, None, sequences, taps, direction)
    return gradient, gh0, sums


def _norm_gate_pool(
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
    settings = (hidden, taps, pooling, direction, zoneout, eps)
    if is_narrow(gates.dtype) and hidden % 2:
        wide, state = widened((gates, h0))
        found = _norm_gate_pool(wide, weight, bias, state, offsets, lengths, seed, *settings)
        return narrowed(found, gates.dtype, 4)
    channels = packed_width(gates, hidden, taps, pooling, direction)
    weight = check_real("weight", weight, gates.dtype, (channels,))
    bias = check_real("bias", bias, gates.dtype, (channels,))
    gates = checked(gates)
    sequences = Sequences(gates, offsets, lengths)
    summed = None if taps == 1 else empty_rows(gates, channels)
    blocks, real = _row_blocks(gates), real_dtype(gates.dtype)
    partial = gates.new_empty(blocks, 3, channels, dtype=real)
    moments = gates.new_empty(2, channels, dtype=real)
    coefficients = gates.new_empty(3, channels, dtype=real)
    cuda.module().gate_moments(
        queue_of(gates), sequences.arguments, channels // direction_count(direction), direction,
        taps, ELEMENTS[gates.dtype], view_of(gates), ABSENT if summed is None else view_of(summed),
        blocks, address_of(partial), address_of(moments), address_of(coefficients),
        address_of(weight), address_of(bias), eps,
    )  # fmt: skip
    h, c, last = _pool_summed(
        gates if summed is None else summed, coefficients, h0, offsets, sequences, seed, hidden,
        pooling, direction, zoneout,
    )  # fmt: skip
    return h, c, last, gates.new_empty(0) if summed is None else summed, moments


def _norm_gate_pool_backward(
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
    settings = (hidden, taps, pooling, direction, zoneout, eps)
    if is_narrow(summed.dtype) and hidden % 2:
        wide: Any = (*widened((gh, gc, glast, summed)), moments, weight, bias)
        wide = (*wide, *widened((h0, states)), offsets, lengths, seed, *settings)
        return narrowed(_norm_gate_pool_backward(*wide), summed.dtype, 2)
    summed = checked(summed)
    sequences = Sequences(summed, offsets, lengths)
    mean, rstd = moments[0], torch.rsqrt(moments[1] + eps)
    scale = weight * rstd
    dy, gh0, sums = _pool_summed_backward(
        gh, glast, summed, torch.stack((mean, scale, bias)), h0, states, sequences, seed, hidden,
        pooling, direction, zoneout,
    )  # fmt: skip
    # As on the CPU: scale * (dy - average(dy) - (p - mean) * rstd^2 * average(dy * (p - mean))),
    # where dy has passed through scale.
    factor = -scale / sequences.valid_rows(summed)
    slope = factor * rstd.square() * sums[1]
    coefficients = torch.stack((mean, factor * sums[0], slope))
    return _spread_taps(summed, dy, coefficients, sequences, taps, direction), gh0, sums


gate_pool.register_kernel("cuda")(_gate_pool)
gate_pool_backward.register_kernel("cuda")(_gate_pool_backward)
norm_gate_pool.register_kernel("cuda")(_norm_gate_pool)
norm_gate_pool_backward.register_kernel("cuda")(_norm_gate_pool_backward)
