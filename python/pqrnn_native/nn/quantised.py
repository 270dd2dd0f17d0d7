"""8 bits while training: values on the grids of the integer engine, gradients as if they were not.

Weights, gates, states and pooled vectors take the values that :mod:`.exact` gives them in
evaluation, except that batch norm uses the batch's own moments. Rounding passes gradients on
("straight-through": Bengio, Leonard and Courville, 2013); what is cut to the end of a grid has
none.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from . import functional
from .exact import TANH_LIMIT, rational_tanh
from .portable import padded, valid_places
from .products import byte_step, linear

__all__ = [
    "GridRange",
    "fake_linear",
    "four_levels",
    "gate_states",
    "on_grid",
    "whole_weight",
]

_QUANTILE = 0.9999
_MOMENTUM = 0.01
_FOUR_LEVELS = (
    0.9957  # step of the best four around a normal variable of size 1 (Max 1960, table II)
)
_ROWS_AT_ONCE = 4  # that stay in a core's cache


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _FourLevels(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, weight: Tensor) -> Tensor:
        out = torch.empty_like(weight)
        share = _FOUR_LEVELS / math.sqrt(weight.shape[1])
        for at in range(0, len(weight), _ROWS_AT_ONCE):
            rows, levels = weight[at : at + _ROWS_AT_ONCE], out[at : at + _ROWS_AT_ONCE]
            step = torch.linalg.vector_norm(rows, dim=1, keepdim=True).mul_(share)
            torch.div(rows, step.clamp_min_(1e-30), out=levels)
            levels.floor_().add_(0.5).clamp_(-1.5, 1.5).mul_(step)
        return out

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _Tanh(torch.autograd.Function):
    """The engine's tanh; of a gradient the share of tanh itself, none beyond its limit."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = rational_tanh(x)
        ctx.save_for_backward(y, x.abs() < TANH_LIMIT)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        y, inside = ctx.saved_tensors
        return gradient * (1 - y * y) * inside


def rounded(x: Tensor) -> Tensor:
    """To the nearest whole number, with the gradient of x."""
    out: Tensor = _Round.apply(x)
    return out


def on_grid(x: Tensor, low: float, high: float, step: Tensor | float) -> Tensor:
    """The nearest of ``q * step``, q whole in [low, high]."""
    return rounded((x / step).clamp(low, high)) * step


def whole_weight(weight: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """A weight as whole numbers in -127..127 and their scale.

    Args:
        weight: any shape, float32.
        dims: dimensions that share a scale.

    Returns:
        Whole numbers, of the weight's shape, with its gradient divided by the scale; and the scale,
        without gradients, of size 1 in ``dims``.
    """
    scale = byte_step(weight, dims)
    return rounded(weight / scale), scale


def four_levels(weight: Tensor) -> Tensor:
    """A weight [rows, columns] with four equally spaced values in each row, and its own gradient.

    They are what 2 bits hold, spaced for weights that are normally distributed.
    """
    out: Tensor = _FourLevels.apply(weight)
    return out


def fake_linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """A dense layer whose weight is on its grid."""
    whole, scale = whole_weight(layer.weight, (1,))
    return linear(x, whole * scale, layer.bias)


class GridRange(nn.Module):
    """Where the grid of an activation ends: a moving quantile of its magnitude.

    ``end`` [1] is 0 before the first batch, whose quantile it then takes.
    """

    end: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("end", torch.zeros(1))

    @torch.no_grad()
    def observe(self, values: Tensor) -> None:
        """Move towards the quantile of a batch."""
        flat = values.detach().abs().flatten()
        if not len(flat):
            return
        place = max(1, round(_QUANTILE * len(flat)))
        found = flat.float().kthvalue(place).values
        self.end.lerp_(found, _MOMENTUM if float(self.end) > 0 else 1.0)

    def value(self) -> Tensor:
        """The end [1], never 0."""
        return self.end.clamp_min(1e-6)


def gate_states(
    gates: Tensor, offsets: Tensor, hidden: int, pooling: str, directions: int, zoneout: float
) -> Tensor:
    """States on their grid from normalised gates, in whole numbers.

    Args:
        gates: [tokens, D * G * H], after batch norm: per direction z, (i,) f, (o).
        offsets: int64 [n + 1].
        hidden: H.
        pooling: ``"f"``, ``"fo"`` or ``"ifo"``.
        directions: D; the second runs from the end.
        zoneout: probability that a step keeps a channel's state.

    Returns:
        [tokens, D * H] of -127..127.
    """
    parts = gates.unflatten(1, (directions, -1, hidden))
    valid, lengths = valid_places(offsets), offsets.diff()
    states = []
    for direction in range(directions):
        z, *others = parts[:, direction].unbind(1)
        z = rounded(_Tanh.apply(z) * 127) / 127
        others = [rounded(_Tanh.apply(gate / 2) * 127.5 + 127.5) / 255 for gate in others]
        f = others[1] if pooling == "ifo" else others[0]
        add = (others[0] if pooling == "ifo" else 1 - f) * z
        if zoneout:
            kept = torch.rand_like(f) < zoneout
            f, add = f.masked_fill(kept, 1.0), add.masked_fill(kept, 0.0)
        c = functional.forget_mult(
            padded(f, valid, 0.0), padded(add, valid, 0.0), lengths=lengths, reverse=bool(direction)
        )[valid]
        h = c if pooling == "f" else others[-1] * c
        states.append(rounded((h * 127).clamp(-127, 127)))
    return torch.cat(states, 1)
