"""The CUDA kernels: whether they are there.

They serve the operators of :mod:`pqrnn_native.nn` for tensors on a CUDA device. They are a compiled
module of their own, built on request; see docs/cuda.md.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

__all__ = ["Status", "status"]


@dataclass(frozen=True)
class Status:
    """Whether the CUDA kernels can run; true in a condition if they can.

    Attributes:
        on: whether they can.
        reason: why not, or how many devices there are.
    """

    on: bool
    reason: str

    def __bool__(self) -> bool:
        return self.on

    def __str__(self) -> str:
        return f"CUDA is {'on' if self.on else 'off'}: {self.reason}"


def status() -> Status:
    """Whether the CUDA kernels can run here, or why not. Never raises.

    Asks the driver, which initialises CUDA in this process where there is one: in a program that
    forks, ask afterwards.
    """
    if not is_built():
        return Status(False, "not built; build with PQRNN_CUDA=1 in the environment")
    try:
        count, reason = module().device_count()
    except Exception as error:
        return Status(False, f"the kernels cannot be loaded: {error}")
    if count == 0:
        return Status(False, f"no device can be used: {reason}")
    return Status(True, f"{count} device{'s' if count > 1 else ''}")


def is_built() -> bool:
    """Whether this installation has the kernels."""
    return importlib.util.find_spec(f"{__package__}._cuda") is not None


def module() -> Any:
    """The compiled module.

    Raises:
        RuntimeError: There is none, or it cannot be loaded.
    """
    try:
        return importlib.import_module("._cuda", __package__)
    except ImportError as error:
        reason = f"cannot load them: {error}" if is_built() else status().reason
        raise RuntimeError(f"no CUDA kernels of pqrnn_native: {reason}") from None
