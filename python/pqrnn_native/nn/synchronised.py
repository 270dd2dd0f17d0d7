"""Batch norm over the rows of all processes, in plain torch.

The fused operators take the statistics of one process's rows. In several processes each layer's
norm is computed here instead, so that the processes together compute what one would of the whole
batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def batch_moments(rows: Tensor, everywhere: bool) -> tuple[Tensor, Tensor, int]:
    """Mean and variance of rows, and how many there are.

    Args:
        rows: [n, width] of this process; may be empty, and n may differ between processes.
        everywhere: over the rows of all processes, where there are several.

    Returns:
        Mean and (biased) variance [width] with gradients, and the number of rows.
    """
    if not everywhere or _alone():
        total = max(1, rows.shape[0])
        mean = rows.sum(0) / total
        return mean, (rows - mean).square().sum(0) / total, total
    count = torch.tensor(float(rows.shape[0]), device=rows.device)
    distributed.all_reduce(count)
    total = max(1, int(count))
    mean = _SumOfAll.apply(rows.sum(0)) / total
    return mean, _SumOfAll.apply((rows - mean).square().sum(0)) / total, total


def sum_taps(gates: Tensor, offsets: Tensor, taps: int, directions: int) -> Tensor:
    """The pre-activations of each step: the sum of its window's taps within its sequence.

    Args:
        gates: [tokens, D * k * G * H], every tap of every token.
        offsets: int64 [n + 1].
        taps: k. Step t of the forward direction sums tap j of row t - k + 1 + j, of the backward
            direction, of row t + j.
        directions: D.

    Returns:
        [tokens, D * G * H].
    """
    rows = gates.shape[0]
    parts = gates.view(rows, directions, taps, gates.shape[1] // (directions * taps))
    lengths = offsets.diff()
    before = torch.arange(rows, device=gates.device) - offsets[:-1].repeat_interleave(lengths)
    after = lengths.repeat_interleave(lengths) - 1 - before
    summed = []
    for direction in range(directions):
        total = parts[:, direction, 0 if direction else taps - 1]
        for distance in range(1, taps):
            if direction:
                tap = parts[distance:, direction, distance]
                tap = torch.nn.functional.pad(tap, (0, 0, 0, min(distance, rows)))
                inside = after >= distance
            else:
                tap = parts[: max(0, rows - distance), direction, taps - 1 - distance]
                tap = torch.nn.functional.pad(tap, (0, 0, min(distance, rows), 0))
                inside = before >= distance
            total = total + tap * inside.unsqueeze(1)
        summed.append(total)
    return torch.cat(summed, 1)


class _SumOfAll(torch.autograd.Function):
    """The sum of all processes' tensors; its gradient is the sum of all processes' gradients."""

    @staticmethod
    def forward(_ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total


def _alone() -> bool:
    joined = distributed.is_available() and distributed.is_initialized()
    return not joined or distributed.get_world_size() == 1
