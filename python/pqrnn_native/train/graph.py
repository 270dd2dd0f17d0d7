"""Answers of a model in training, through the torch graph, and how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..config import PQRNNConfig
from ..parser import allowed_tags
from ..tags import Span, SpanLabel, TagSet, decode_tags, forbid_tags
from .learner import Learner, Logits, Predictor
from .readers import Example
from .rows import token_spans

Parsed: TypeAlias = tuple[str, list[SpanLabel]]
Answer: TypeAlias = "Parsed | tuple[str, ...]"


class Answers:
    """Answers of a model to a fixed set of texts.

    Args:
        examples: the texts; their gold answers are not looked at.
        config: of the model.
    """

    def __init__(self, examples: Sequence[Example], config: PQRNNConfig) -> None:
        self._texts = [example.text for example in examples]
        self._config = config
        self._allowed = allowed_tags(config)
        self._spans: list[list[Span]] = []
        if config.slots:
            self._spans = token_spans(self._texts, config.projection)

    def __call__(self, model: Learner | Predictor) -> list[Any]:
        """One answer per text; of a learner, its averaged model's.

        Returns:
            ``(intent, slots)`` of a parser or tagger (whose intent is ``""``), a tuple of labels of
            a classifier.
        """
        answers: list[Any] = [None] * len(self._texts)
        tags: TagSet | None = None
        for rows, logits, offsets in model.predict(self._texts):
            if not self._config.slots:
                found: Sequence[Any] = self._labels(logits)
            else:
                if tags is None:  # the transitions are the same for all batches
                    tags = TagSet(self._config.slots, _array(logits.transitions))
                found = self._parses(rows, logits, offsets, tags)
            for row, answer in zip(rows, found, strict=True):
                answers[row] = answer
        return answers

    def _labels(self, logits: Logits) -> list[tuple[str, ...]]:
        assert logits.sentence is not None
        scores, names = logits.sentence.numpy(), self._config.labels
        if self._config.multi_label:
            return [tuple(names[k] for k in np.flatnonzero(row >= 0)) for row in scores]
        return [(names[k],) for k in scores.argmax(axis=1)]

    def _parses(
        self,
        rows: npt.NDArray[np.int64],
        logits: Logits,
        offsets: npt.NDArray[np.int64],
        tags: TagSet,
    ) -> list[Parsed]:
        assert logits.tags is not None
        intents = [""] * len(rows)
        scores, offsets = self._without_marks(logits.tags.numpy(), offsets)
        if logits.sentence is not None:
            numbers = logits.sentence.numpy().argmax(axis=1)
            intents = [self._config.intents[k] for k in numbers]
            if self._allowed is not None:
                forbid_tags(scores, offsets, numbers, self._allowed)
        best = tags.best(scores, offsets)
        parses = []
        for at, (row, intent) in enumerate(zip(rows, intents, strict=True)):
            names = [tags.names[k] for k in best[offsets[at] : offsets[at + 1]]]
            parses.append((intent, decode_tags(self._spans[row], names)))
        return parses

    def _without_marks(
        self, scores: npt.NDArray[np.float32], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        projection = self._config.projection
        kept = np.ones(len(scores), dtype=bool)
        if projection.bos:
            kept[offsets[:-1]] = False
        if projection.eos:
            kept[offsets[1:] - 1] = False
        marks = int(projection.bos) + int(projection.eos)
        return scores[kept], offsets - marks * np.arange(len(offsets))


def _array(values: Tensor | None) -> npt.NDArray[np.float32] | None:
    return None if values is None else values.numpy()
