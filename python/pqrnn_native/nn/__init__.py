"""Training: torch operators and modules. Importing this imports torch."""

from __future__ import annotations

from .._optional import require

require("torch", extra="train")

from . import functional  # noqa: E402

__all__ = ["functional"]
