"""From a configuration to its graph."""

from __future__ import annotations

from torch import nn

from ..config import PQRNNConfig
from .models import PQRNNForClassification, PQRNNForParsing, PQRNNForSentenceEmbedding
from .published import PublishedPQRNN

__all__ = ["build"]

_GRAPHS = {
    graph.task: graph
    for graph in (PQRNNForClassification, PQRNNForParsing, PQRNNForSentenceEmbedding)
}


def build(config: PQRNNConfig, *, dropout: float = 0.0, reference: bool = False) -> nn.Module:
    """The graph of a configuration, with fresh weights.

    Args:
        config: Its ``task`` decides the class.
        dropout: As for :class:`PQRNNEncoder`.
        reference: The graph of the published code, :class:`PublishedPQRNN`.

    Raises:
        ValueError: ``dropout`` is out of range, or the published graph does not have what is asked
            for.
    """
    if not reference:
        return _GRAPHS[config.task](config, dropout)
    if dropout:
        raise ValueError(f"dropout must be 0 with reference=True, got {dropout!r}")
    return PublishedPQRNN(config)
