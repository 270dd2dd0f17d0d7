"""pQRNN text encoders: no vocabulary, no embedding table, a few megabytes, native speed."""

from __future__ import annotations

import os
from typing import Any

from ._core import __version__, available_isas
from .classifier import Classifier
from .config import PQRNNConfig, ProjectionConfig
from .encoder import Encoder
from .loading import encode, load
from .parser import Parse, Parser, Slot
from .projection import Projection

__all__ = [
    "Classifier",
    "Encoder",
    "PQRNNConfig",
    "Parse",
    "Parser",
    "Projection",
    "ProjectionConfig",
    "Slot",
    "__version__",
    "available_isas",
    "encode",
    "load",
]

_LAZY = ("cuda", "integrations", "nn", "reference", "train")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_LAZY])


def _check_environment() -> None:
    wanted = os.environ.get("PQRNN_ISA")
    if wanted is not None and wanted not in available_isas():
        import warnings

        warnings.warn(
            f"PQRNN_ISA={wanted!r} is not available here, using the best one; "
            f"choose from {', '.join(available_isas())}",
            RuntimeWarning,
            stacklevel=3,
        )


_check_environment()
