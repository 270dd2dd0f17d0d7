"""Training and distillation.

Reading data and measuring need NumPy only; training needs the ``train`` extra, and is imported when
it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .readers import Example, Examples, Skipped, read_examples, splits
from .settings import TrainSettings, default_config

if TYPE_CHECKING:
    from .fitting import FitResult, fit

__all__ = [
    "Example",
    "Examples",
    "FitResult",
    "Skipped",
    "TrainSettings",
    "default_config",
    "fit",
    "read_examples",
    "splits",
]


def __getattr__(name: str) -> Any:
    if name not in ("FitResult", "fit"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .._optional import require

    require("torch", extra="train")
    from . import fitting

    return getattr(fitting, name)
