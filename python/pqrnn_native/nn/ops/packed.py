"""Pooling of the packed pre-activations of all gates, taps and directions.

gates [.., D * k * G * H]: direction d, tap j, gate g have the H channels at ((d*k + j)*G + g)*H.
The pre-activation of step t is the sum over taps of rows t-k+1..t (forward) or t..t+k-1
(backward), which turns a convolution into one matrix product over the tokens as they lie.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from ... import _core
from .layout import (
    GATES,
    Sequences,
    address_of,
    checked,
    checked_rows,
    checked_state,
    empty_rows,
    kept_states,
    new_rows,
    real_dtype,
    saved_states,
    view_of,
)
from .pooling import check_kind, pool_shape, refuse_second_gradients, save_nothing
from .scan import sequence_count


def direction_count(direction: str) -> int:
    """2 for ``"both"``, else 1."""
    return 2 if direction == "both" else 1


def packed_width(gates: Tensor, hidden: int, taps: int, pooling: str, direction: str) -> int:
    """Channels of normalised pre-activations, D * G * H."""
    check_kind(pooling, direction)
    if hidden < 1 or taps < 1:
        raise ValueError(f"hidden and taps must be at least 1, got {hidden} and {taps}")
    channels = direction_count(direction) * GATES[pooling] * hidden
    if gates.shape[-1] != channels * taps:
        raise ValueError(
            f"gates must have {channels * taps} channels for hidden={hidden}, taps={taps}, "
            f"pooling={pooling!r}, direction={direction!r}, got {gates.shape[-1]}"
        )
    return channels


def check_real(name: str, value: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """A contiguous float32 tensor of that shape (float64 for float64 gates)."""
    if value.dtype != real_dtype(dtype) or tuple(value.shape) != shape:
        raise ValueError(
            f"{name} must be {real_dtype(dtype)} of shape {shape}, "
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
    h is [.., D * H], h0 and last [n, D, H], c what :func:`.layout.kept_states` says.
    """
    gates = checked(gates)
    channels = packed_width(gates, hidden, taps, pooling, direction)
    coefficients = check_real("coefficients", coefficients, gates.dtype, (3, channels))
    sequences = Sequences(gates, offsets, lengths)
    directions = direction_count(direction)
    state = (sequences.count, directions, hidden)
    h0 = checked_state("h0", h0, gates, state)
    shape = pool_shape(
        sequences,
        hidden,
        gates,
        pooling=pooling,
        direction=direction,
        taps=taps,
        zoneout=zoneout,
        seed=seed,
    )
    h = new_rows(gates, directions * hidden)
    c = None if pooling == "f" else new_rows(gates, directions * hidden)
    last = torch.empty(state, dtype=gates.dtype)
    _core.gate_pool_forward(
        shape,
        view_of(gates),
        address_of(coefficients),
        address_of(h0),
        view_of(h),
        view_of(c),
        address_of(last),
    )
    return h, torch.empty(0, dtype=gates.dtype) if c is None else c, last


def fake_pool(
    gates: Tensor, offsets: Tensor | None, hidden: int, pooling: str, direction: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Shapes that a pooling of packed pre-activations returns."""
    directions = direction_count(direction)
    c = kept_states(gates, offsets, pooling, directions * hidden)
    last = gates.new_empty(sequence_count(gates, offsets), directions, hidden)
    return empty_rows(gates, directions * hidden), c, last


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
    return fake_pool(gates, offsets, hidden, pooling, direction)


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
    gates, states = checked(gates), checked(states)
    channels = packed_width(gates, hidden, taps, pooling, direction)
    coefficients = check_real("coefficients", coefficients, gates.dtype, (3, channels))
    sequences = Sequences(gates, offsets, lengths)
    state = (sequences.count, direction_count(direction), hidden)
    gh = torch.zeros_like(states) if gh is None else checked_rows("gh", gh, states)
    gc = None if gc is None or gc.numel() == 0 else checked_rows("gc", gc, states)
    glast = checked_state("glast", glast, gates, state)
    h0 = checked_state("h0", h0, gates, state)
    shape = pool_shape(
        sequences,
        hidden,
        gates,
        pooling=pooling,
        direction=direction,
        taps=taps,
        zoneout=zoneout,
        seed=seed,
    )
    gradient = new_rows(gates, gates.shape[-1])
    gh0 = torch.empty(state, dtype=gates.dtype)
    groups = -(-sequences.count // _core.SEQUENCE_GROUP)
    # Zeros: gates without rows have no address, and kernels take that for an absent gate.
    sums = torch.zeros(groups, 2, channels, dtype=real_dtype(gates.dtype))
    _core.gate_pool_backward(
        shape,
        view_of(gates),
        address_of(coefficients),
        view_of(gh),
        view_of(gc),
        address_of(glast),
        address_of(h0),
        view_of(states),
        view_of(gradient),
        address_of(gh0),
        address_of(sums),
    )
    return gradient, gh0, sums.sum(0)


def fake_pool_backward(
    gates: Tensor, offsets: Tensor | None, hidden: int, direction: str, channels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Shapes that its backward pass returns."""
    return (
        empty_rows(gates, gates.shape[-1]),
        gates.new_empty(sequence_count(gates, offsets), direction_count(direction), hidden),
        gates.new_empty(2, channels, dtype=real_dtype(gates.dtype)),
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
    return fake_pool_backward(gates, offsets, hidden, direction, coefficients.shape[1])


def _save_gate_pool(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    gates, coefficients, h0, offsets, lengths, seed, *ctx.settings = inputs
    h, c, _ = output
    pooling = inputs[8]
    ctx.set_materialize_grads(False)
    if c.device.type == "cuda":
        ctx.mark_non_differentiable(c)
    ctx.save_for_backward(
        gates, coefficients, h0, saved_states(h, c, pooling), offsets, lengths, seed
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
gate_pool_backward.register_autograd(refuse_second_gradients, setup_context=save_nothing)
