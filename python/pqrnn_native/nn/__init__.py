"""Training: torch operators and modules. Importing this imports torch."""

from __future__ import annotations

from .._optional import require

require("torch", extra="train")

from . import functional, projection  # noqa: E402
from .building import build  # noqa: E402
from .encoder import PQRNNEncoder  # noqa: E402
from .models import (  # noqa: E402
    PQRNNForClassification,
    PQRNNForParsing,
    PQRNNForSentenceEmbedding,
)
from .published import PublishedPQRNN  # noqa: E402
from .qrnn import QRNN  # noqa: E402

__all__ = [
    "QRNN",
    "PQRNNEncoder",
    "PQRNNForClassification",
    "PQRNNForParsing",
    "PQRNNForSentenceEmbedding",
    "PublishedPQRNN",
    "build",
    "functional",
    "projection",
]
