"""Dropout whose mask follows from a seed, so that nothing is kept for the backward pass."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.library import custom_op

from ... import _core
from .layout import (
    ELEMENTS,
    address_of,
    checked,
    checked_probability,
    new_rows,
    seed_of,
    threads_for,
    threshold_of,
)


@custom_op("pqrnn_native::dropout", mutates_args=(), device_types="cpu")
def dropout(x: Tensor, seed: Tensor, probability: float) -> Tensor:
    """Contiguous ``x / (1 - p)`` or 0; see :func:`pqrnn_native.nn.functional.dropout`.

    The mask goes by an element's place in the shape, not in memory: a gradient may have strides of
    its own.
    """
    p = checked_probability("probability", probability)
    flat = checked(x.reshape(-1))
    y = new_rows(flat, x.numel())
    _core.dropout(
        count=x.numel(),
        element=ELEMENTS[x.dtype],
        threshold=threshold_of(p),
        seed=seed_of(seed),
        scale=1 / (1 - p),
        threads=threads_for(x),
        x=address_of(flat),
        y=address_of(y),
    )
    return y.view(x.shape)


@dropout.register_fake
def _(x: Tensor, seed: Tensor, probability: float) -> Tensor:
    return x.new_empty(x.shape)


def _save_dropout(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, seed, ctx.probability = inputs
    ctx.save_for_backward(seed)


def _dropout_gradient(ctx: Any, gy: Tensor) -> tuple[Any, ...]:
    # Itself differentiable, so derivatives of any order follow.
    (seed,) = ctx.saved_tensors
    return dropout(gy, seed, ctx.probability), None, None


dropout.register_autograd(_dropout_gradient, setup_context=_save_dropout)
