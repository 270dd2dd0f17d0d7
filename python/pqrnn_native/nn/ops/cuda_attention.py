"""Attention pooling on CUDA devices."""

from __future__ import annotations

from torch import Tensor

from ... import cuda
from .attention import attend, attend_backward, check_heads
from .cuda_layout import ELEMENTS, Sequences, address_of, queue_of
from .layout import empty_rows, view_of


def _rows(value: Tensor) -> Tensor:
    if value.dtype not in ELEMENTS:
        raise TypeError(f"dtype must be float32, float16, bfloat16 or float64, got {value.dtype}")
    return value if value.stride(-1) == 1 or value.shape[-1] == 1 else value.contiguous()


def _attend(
    states: Tensor, logits: Tensor, offsets: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    states, logits = _rows(states), _rows(logits)
    if logits.dtype != states.dtype or logits.shape[:-1] != states.shape[:-1]:
        raise ValueError(
            f"logits must be {states.dtype} of shape {(*states.shape[:-1], 'heads')}, "
            f"got {logits.dtype} of shape {tuple(logits.shape)}"
        )
    width, heads = states.shape[-1], logits.shape[-1]
    check_heads(width, heads)
    sequences = Sequences(states, offsets, lengths)
    weights, pooled = empty_rows(logits, heads), states.new_empty(sequences.count, width)
    cuda.module().attend_forward(
        queue_of(states), sequences.arguments, width, heads, ELEMENTS[states.dtype],
        view_of(states), view_of(logits), view_of(weights), address_of(pooled),
    )  # fmt: skip
    return pooled, weights


def _attend_backward(
    gpooled: Tensor,
    states: Tensor,
    weights: Tensor,
    offsets: Tensor | None,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor]:
    states, weights, gpooled = _rows(states), _rows(weights), gpooled.contiguous()
    width, heads = states.shape[-1], weights.shape[-1]
    sequences = Sequences(states, offsets, lengths)
    gstates, glogits = empty_rows(states, width), empty_rows(weights, heads)
    cuda.module().attend_backward(
        queue_of(states), sequences.arguments, width, heads, ELEMENTS[states.dtype],
        address_of(gpooled), view_of(states), view_of(weights), view_of(gstates), view_of(glogits),
    )  # fmt: skip
    return gstates, glogits


attend.register_kernel("cuda")(_attend)
attend_backward.register_kernel("cuda")(_attend_backward)
