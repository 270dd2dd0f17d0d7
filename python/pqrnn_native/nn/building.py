"""From a configuration to its graph."""

from __future__ import annotations

from torch import nn

from ..config import PQRNNConfig
from .models import PQRNNForClassification, PQRNNForParsing, PQRNNForSentenceEmbedding

__all__ = ["build"]

_GRAPHS = {
    graph.task: graph
    for graph in (PQRNNForClassification, PQRNNForParsing, PQRNNForSentenceEmbedding)
}


def build(config: PQRNNConfig, *, dropout: float = 0.0) -> nn.Module:
    """The graph of a configuration, with fresh weights.

    Args:
        config: Its ``task`` decides the class.
        dropout: As for :class:`PQRNNEncoder`.

    Raises:
        ValueError: ``dropout`` is out of range.
    """
    return _GRAPHS[config.task](config, dropout)
