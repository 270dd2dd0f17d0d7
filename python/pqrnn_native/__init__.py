"""pQRNN text encoders: no vocabulary, no embedding table, a few megabytes, native speed."""

from __future__ import annotations

from ._core import __version__
from .projection import Projection

__all__ = ["Projection", "__version__"]
