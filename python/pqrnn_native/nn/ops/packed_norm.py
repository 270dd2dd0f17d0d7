"""Pooling of packed pre-activations with batch norm over the valid rows in between."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from ... import _core
from .layout import Sequences, address_of, checked, empty_rows, new_rows, saved_states, view_of
from .packed import (
    check_real,
    direction_count,
    fake_pool,
    fake_pool_backward,
    gate_pool,
    gate_pool_backward,
    packed_width,
)
from .pooling import pool_shape, refuse_second_gradients, save_nothing


def _row_counts(sequences: Sequences, rows: Tensor) -> Tensor:
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
    gates = checked(gates)
    channels = packed_width(gates, hidden, taps, pooling, direction)
    weight = check_real("weight", weight, gates.dtype, (channels,))
    bias = check_real("bias", bias, gates.dtype, (channels,))
    sequences = Sequences(gates, offsets, lengths)
    shape = pool_shape(sequences, hidden, gates, pooling=pooling, direction=direction, taps=taps)
    summed = None if taps == 1 else new_rows(gates, channels)
    groups = -(-sequences.count // _core.SEQUENCE_GROUP)
    partial = torch.empty(groups, 2, channels, dtype=torch.float64)
    _core.gate_moments(
        shape,
        channels // direction_count(direction),
        view_of(gates),
        view_of(summed),
        address_of(partial),
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
    summed = gates.new_empty(0) if taps == 1 else empty_rows(gates, channels)
    moments = weight.new_empty(2, channels)
    return *fake_pool(gates, offsets, hidden, pooling, direction), summed, moments


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
    summed = checked(summed)
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
    sequences = Sequences(summed, offsets, lengths)
    rows = sequences.lengths(summed).sum().clamp(min=1)
    offset = -scale * sums[0] / rows
    slope = -scale * rstd.square() * sums[1] / rows
    coefficients = torch.stack((mean, offset, slope)).to(weight.dtype)
    channels = summed.shape[-1]
    gradient = dy if taps == 1 else new_rows(summed, channels * taps)
    shape = pool_shape(sequences, hidden, summed, pooling=pooling, direction=direction, taps=taps)
    _core.gate_norm_backward(
        shape,
        channels // direction_count(direction),
        view_of(summed),
        view_of(dy),
        address_of(coefficients),
        view_of(gradient),
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
    _, gh0, sums = fake_pool_backward(summed, offsets, hidden, direction, channels)
    return empty_rows(summed, channels * taps), gh0, sums


def _save_norm_gate_pool(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    gates, weight, bias, h0, offsets, lengths, seed, *ctx.settings = inputs
    h, c, _, summed, moments = output
    taps, pooling = inputs[8:10]
    ctx.mark_non_differentiable(summed, moments, *((c,) if c.device.type == "cuda" else ()))
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(
        gates if taps == 1 else summed,
        moments,
        weight,
        bias,
        h0,
        saved_states(h, c, pooling),
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
norm_gate_pool_backward.register_autograd(refuse_second_gradients, setup_context=save_nothing)
