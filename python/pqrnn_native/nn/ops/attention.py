"""Attention pooling: per head a softmax over time, and the weighted sum of the states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from ... import _core
from .layout import (
    ELEMENTS,
    Sequences,
    address_of,
    checked,
    empty_rows,
    new_rows,
    threads_for,
    view_of,
)
from .pooling import refuse_second_gradients, save_nothing
from .scan import sequence_count


def check_heads(width: int, heads: int) -> None:
    """Raise ValueError unless the heads divide the width."""
    if heads < 1 or width % heads:
        raise ValueError(f"the number of heads must divide the width {width}, got {heads}")


@custom_op("pqrnn_native::attend", mutates_args=(), device_types="cpu")
def attend(
    states: Tensor, logits: Tensor, offsets: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """``v[n, p] = sum_t w[t, head of p] * states[t, p]`` and ``w = softmax_t(logits)``.

    states [.., P], logits [.., A]; v [n, P] (zero without tokens), w as logits.
    """
    states, logits = checked(states), checked(logits)
    if logits.dtype != states.dtype or logits.shape[:-1] != states.shape[:-1]:
        raise ValueError(
            f"logits must be {states.dtype} of shape {(*states.shape[:-1], 'heads')}, "
            f"got {logits.dtype} of shape {tuple(logits.shape)}"
        )
    width, heads = states.shape[-1], logits.shape[-1]
    check_heads(width, heads)
    sequences = Sequences(states, offsets, lengths)
    weights = new_rows(logits, heads)
    pooled = torch.empty(sequences.count, width, dtype=states.dtype)
    _core.attend_forward(
        sequences.arguments,
        width,
        heads,
        ELEMENTS[states.dtype],
        threads_for(states),
        view_of(states),
        view_of(logits),
        view_of(weights),
        address_of(pooled),
    )
    return pooled, weights


@attend.register_fake
def _(
    states: Tensor, logits: Tensor, offsets: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    pooled = states.new_empty(sequence_count(states, offsets), states.shape[-1])
    return pooled, empty_rows(logits, logits.shape[-1])


@custom_op("pqrnn_native::attend_backward", mutates_args=(), device_types="cpu")
def attend_backward(
    gpooled: Tensor,
    states: Tensor,
    weights: Tensor,
    offsets: Tensor | None,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Gradients of states and logits."""
    states, weights = checked(states), checked(weights)
    width, heads = states.shape[-1], weights.shape[-1]
    sequences = Sequences(states, offsets, lengths)
    gstates, glogits = new_rows(states, width), new_rows(weights, heads)
    gpooled = gpooled.contiguous()
    _core.attend_backward(
        sequences.arguments,
        width,
        heads,
        ELEMENTS[states.dtype],
        threads_for(states),
        address_of(gpooled),
        view_of(states),
        view_of(weights),
        view_of(gstates),
        view_of(glogits),
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
    return empty_rows(states, states.shape[-1]), empty_rows(weights, weights.shape[-1])


def _save_attend(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    states, _, offsets, lengths = inputs
    _, weights = output
    ctx.mark_non_differentiable(weights)
    ctx.save_for_backward(states, weights, offsets, lengths)


def _attend_gradients(ctx: Any, gpooled: Tensor, _: Any) -> tuple[Any, ...]:
    states, weights, offsets, lengths = ctx.saved_tensors
    return *attend_backward(gpooled, states, weights, offsets, lengths), None, None


attend.register_autograd(_attend_gradients, setup_context=_save_attend)
attend_backward.register_autograd(refuse_second_gradients, setup_context=save_nothing)
