"""Training in several processes, started by ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Processes:
    """The processes of one run.

    Attributes:
        rank: number of this one; 0 alone writes files, evaluates and shows a bar.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Go on when all are here."""
        if self.world > 1:
            distributed.barrier()

    def agree(self, value: bool) -> bool:
        """The first process's value, in all of them."""
        if self.world == 1:
            return value
        said = [value]
        distributed.broadcast_object_list(said)
        return said[0]

    def sum(self, values: Tensor) -> list[float]:
        """The sums over the processes of a vector's entries."""
        values = values.detach()
        if self.world > 1:
            distributed.all_reduce(values)
        return [float(value) for value in values]


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that ``torchrun`` started, or this one alone.

    Joins them (nccl on GPUs, else gloo) unless the caller has, and then leaves them at the end. A
    program that trains several times must join them itself: torch does so once under one address.
    """
    if not distributed.is_available():
        yield Processes()
        return
    ours = not distributed.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1
    if ours:
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        )
    try:
        if distributed.is_initialized():
            yield Processes(distributed.get_rank(), distributed.get_world_size())
        else:
            yield Processes()
    finally:
        if ours:
            distributed.destroy_process_group()
