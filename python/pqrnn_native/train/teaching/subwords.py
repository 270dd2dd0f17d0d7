"""Texts as the subwords of an encoder, with what is needed to speak of our own tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...config import ProjectionConfig
from ..inputs import plain_projection
from .alignment import align, places

__all__ = ["MOST_PLACES", "SubwordFeaturizer", "SubwordInputs"]

MOST_PLACES = 7  # see alignment.places
_WIDTH = 8  # subwords of a batch are filled up to a multiple, so that fewer shapes are met
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


class SubwordInputs(NamedTuple):
    """The texts of a batch.

    Attributes:
        ids: int64 ``[n, subwords]``.
        mask: int64 ``[n, subwords]``, 1 where there is a subword.
        weights: float32 ``[n, tokens, subwords]``, see :func:`.alignment.align`; rows of zeros
            where a text has no more tokens.
        places: int64 ``[n, tokens]``, see :func:`.alignment.places`.
        offsets: int64 ``[n + 1]``; text s has the tokens ``offsets[s]:offsets[s + 1]``.
    """

    ids: Tensor
    mask: Tensor
    weights: Tensor
    places: Tensor
    offsets: Tensor

    def to(self, device: torch.device) -> SubwordInputs:
        """The same on a device."""
        return SubwordInputs(*(part.to(device) for part in self))

    def through(self, model: torch.nn.Module) -> Tensor | tuple[Tensor, Tensor]:
        """``model(ids, mask, weights, places, offsets)``."""
        said: Tensor | tuple[Tensor, Tensor] = model(*self)
        return said


class SubwordFeaturizer:
    """Makes :class:`SubwordInputs`.

    Args:
        tokenizer: of transformers, a fast one.
        projection: splits texts into our tokens; None where nothing is said of them.
        max_length: longer texts are cut to that many subwords.
        max_tokens: in training, to that many of our tokens; 0: not at all.
    """

    def __init__(
        self,
        tokenizer: Any,
        projection: ProjectionConfig | None,
        max_length: int,
        max_tokens: int = 0,
    ) -> None:
        self.tokenizer, self.max_length, self.max_tokens = tokenizer, max_length, max_tokens
        self._projection = None if projection is None else plain_projection(projection)
        self._padding = tokenizer.pad_token_id or 0

    def __call__(self, texts: Sequence[str]) -> SubwordInputs:
        return self._inputs(texts, 0)

    def training(self, texts: Sequence[str], seed: int) -> SubwordInputs:
        """With no more than ``max_tokens`` tokens a text; nothing is random."""
        del seed
        return self._inputs(texts, self.max_tokens)

    def _inputs(self, texts: Sequence[str], limit: int) -> SubwordInputs:
        encoded = self.tokenizer(
            # Tokenizers do not take what is no Unicode; characters keep their places.
            [_LONE_SURROGATES.sub("\ufffd", text) for text in texts],
            truncation=True,
            max_length=self.max_length,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        # Not every tokenizer has marks: an empty text may have no subword at all.
        ids = [own or [self._padding] for own in encoded["input_ids"]]
        offsets = [own or [(0, 0)] for own in encoded["offset_mapping"]]
        spans = [[] if self._projection is None else self._projection.spans(t) for t in texts]
        spans = [own[: limit or None] for own in spans]
        subwords = -(-max(map(len, ids)) // _WIDTH) * _WIDTH
        tokens = max(map(len, spans))
        padded = np.full((len(texts), subwords), self._padding, np.int64)
        mask = np.zeros_like(padded)
        weights = np.zeros((len(texts), tokens, subwords), np.float32)
        numbers = np.zeros((len(texts), tokens), np.int64)
        for row, own in enumerate(ids):
            padded[row, : len(own)], mask[row, : len(own)] = own, 1
            if spans[row]:
                shares = align(spans[row], offsets[row])
                weights[row, : len(shares), : len(own)] = shares
                numbers[row, : len(shares)] = places(shares, MOST_PLACES)
        ends = np.cumsum([0, *map(len, spans)]).astype(np.int64)
        arrays = (padded, mask, weights, numbers, ends)
        return SubwordInputs(*(torch.from_numpy(array) for array in arrays))
