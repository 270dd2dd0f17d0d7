"""What training loops share: optimiser, learning rate, averaged weights, random seeds."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch


def adamw(
    model: torch.nn.Module,
    learning_rate: float,
    weight_decay: float,
    factors: Mapping[str, float] | None = None,
) -> torch.optim.AdamW:
    """AdamW with decay on matrices only, since scales and biases are not to be small.

    Args:
        model: whose parameters learn; those that need no gradient are left out.
        learning_rate: of each parameter.
        weight_decay: of matrices.
        factors: by what the rate is multiplied for the parameters of a submodule, by its name.
    """
    factors = factors or {}

    def factor_of(name: str) -> float:
        return next((f for part, f in factors.items() if name.startswith(f"{part}.")), 1.0)

    groups: list[dict[str, Any]] = []
    for factor in dict.fromkeys((1.0, *factors.values())):
        own = [
            parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and factor_of(name) == factor
        ]
        for decay, part in (
            (weight_decay, [p for p in own if p.dim() > 1]),
            (0.0, [p for p in own if p.dim() <= 1]),
        ):
            groups.append({"params": part, "weight_decay": decay, "factor": factor})
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )


def rate(step: int, steps: int, warmup_steps: int) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then cosine decay to 1 %."""
    warm = min(1.0, (step + 1) / max(1, warmup_steps))
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


def set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Use this learning rate from now on, times each group's ``factor`` where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = value * group.get("factor", 1.0)


def seed_step(*numbers: int) -> None:
    """Seed torch's generators from numbers, usually (seed, step).

    A step's dropout and zoneout then follow from its number alone, so that a resumed run needs no
    stored generator to go on as if it had not been cut.
    """
    torch.manual_seed(hash(numbers) & 0x7FFFFFFF)


class Averaged:
    """A model and the exponential moving average of its weights.

    Args:
        model: what is trained; on its final device.
        decay: of the average, [0, 1); with 0 the average is the model.

    Attributes:
        model: the one given.
        average: its averaged twin, without gradients; with a decay of 0 the model itself.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.average = copy.deepcopy(model).requires_grad_(False) if decay else model

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step; the start is free of bias, buffers are copied."""
        if self.average is self.model:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)
        for mean, now in zip(self.average.buffers(), self.model.buffers(), strict=True):
            mean.copy_(now)

    def state(self) -> dict[str, Any]:
        """Both models' tensors."""
        return {"model": self.model.state_dict(), "average": self.average.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
