"""Labelled examples as arrays: what a training step needs of them besides the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..config import PQRNNConfig, ProjectionConfig
from ..tags import Span, TagSet, encode_tags
from .augment.base import Augment, augmented
from .inputs import plain_projection
from .readers import Example
from .soft_labels import SoftLabels

IGNORED = -100  # torch's own mark for a token that takes no part in the loss
_STREAM = 1  # keeps augmentation apart from what else is drawn with a step's seed


@dataclass(frozen=True)
class TrainingRows:
    """Texts and their gold answers as numbers.

    Attributes:
        texts: ``n`` of them.
        lengths: int64 ``[n]``, tokens of each, begin and end marks included.
        sentence: int64 ``[n]``, the intent or label; float32 ``[n, labels]`` of 0 and 1 for several
            labels; None for a tagger.
        tags: int64, all texts' tokens one after the other, :data:`IGNORED` for marks; None for a
            classifier.
        starts: int64 ``[n + 1]``, where each text's tokens are in ``tags``.
    """

    texts: list[str]
    lengths: npt.NDArray[np.int64]
    sentence: npt.NDArray[np.int64] | npt.NDArray[np.float32] | None
    tags: npt.NDArray[np.int64] | None
    starts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: npt.NDArray[np.int64]) -> TrainingRows:
        """These rows, in this order."""
        lengths = self.lengths[rows]
        tags = None
        if self.tags is not None:
            tags = np.concatenate([self.tags[self.starts[r] : self.starts[r + 1]] for r in rows])
        return TrainingRows(
            [self.texts[row] for row in rows],
            lengths,
            None if self.sentence is None else self.sentence[rows],
            tags,
            _starts(lengths),
        )


class RowSource:
    """Draws the batches of a run, augmented.

    Args:
        examples: of the configuration's task.
        config: as for :func:`encode_rows`.
        max_tokens: as for :func:`encode_rows`.
        augment: what each row goes through, in this order.
        soft: what a teacher says of these texts, or of some.

    Attributes:
        soft: the same.
        rows: all rows as they are.
        tag_set: what the numbers of their tags stand for; None for a classifier.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        config: PQRNNConfig,
        max_tokens: int = 0,
        augment: Sequence[Augment] = (),
        soft: SoftLabels | None = None,
    ) -> None:
        self.soft = soft
        self.rows = encode_rows(examples, config, max_tokens)
        self.tag_set = TagSet(config.slots) if config.slots else None
        self._examples, self._config, self._max_tokens = examples, config, max_tokens
        self._augment = tuple(augment)
        self._projection = plain_projection(config.projection)

    def batch(self, rows: npt.NDArray[np.int64], seed: int) -> TrainingRows:
        """These rows; which of them are changed and how follows from the seed.

        Raises:
            TypeError, ValueError: an augmentation returned what is no example of this task.
        """
        batch = self.rows.take(rows)
        if not self._augment:
            return batch
        rng = np.random.default_rng([seed, _STREAM])
        plain = [self._examples[row] for row in rows]
        found = [augmented(example, self._augment, rng) for example in plain]
        chosen = np.array([at for at, own in enumerate(plain) if found[at] is not own], np.int64)
        if not len(chosen):
            return batch
        examples = [found[at] for at in chosen]
        spans = [self._projection.spans(example.text) for example in examples]
        changed = encode_rows(examples, self._config, self._max_tokens, spans)
        order = np.arange(len(rows))
        order[chosen] = len(rows) + np.arange(len(chosen))
        return _joined(batch, changed).take(order)


def encode_rows(
    examples: Sequence[Example],
    config: PQRNNConfig,
    max_tokens: int = 0,
    spans: Sequence[Sequence[Span]] | None = None,
) -> TrainingRows:
    """Arrays of labelled examples.

    Args:
        examples: of the configuration's task; every intent or label must be one of its names. A
            slot tag that it does not have counts as outside of any slot.
        config: names the intents, labels and tags, and the projection that splits the texts.
        max_tokens: texts are cut to that many tokens; 0: not at all.
        spans: of each text's tokens, when they are known already.

    Raises:
        ValueError: An intent or label that the configuration does not have.
    """
    projection = config.projection
    marks = (int(projection.bos), int(projection.eos))
    if spans is None:
        spans = token_spans([example.text for example in examples], projection)
    limit = max_tokens or max((len(s) for s in spans), default=0)
    counts = np.array([min(len(s), limit) for s in spans], dtype=np.int64)
    lengths = counts + sum(marks)
    starts = _starts(lengths)
    tags = None
    if config.slots:
        number = {name: index for index, name in enumerate(config.slots)}
        tags = np.full(starts[-1], IGNORED, dtype=np.int64)
        for example, own, start, kept in zip(examples, spans, starts, counts, strict=False):
            names = encode_tags(own, example.slots, number)
            first = start + marks[0]
            tags[first : first + kept] = [number.get(name, 0) for name in names[:kept]]
    return TrainingRows(
        [example.text for example in examples],
        lengths,
        _sentence(examples, config),
        tags,
        starts,
    )


def token_spans(texts: Sequence[str], config: ProjectionConfig) -> list[list[Span]]:
    """Character spans of each text's tokens as the model sees them, without marks."""
    projection = plain_projection(config)
    return [projection.spans(text) for text in texts]


def _starts(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


def _joined(first: TrainingRows, second: TrainingRows) -> TrainingRows:
    lengths = np.concatenate((first.lengths, second.lengths))

    def both(name: str) -> Any:
        parts = getattr(first, name), getattr(second, name)
        return None if parts[0] is None else np.concatenate(parts)

    return TrainingRows(
        first.texts + second.texts,
        lengths,
        both("sentence"),
        both("tags"),
        _starts(lengths),
    )


def _sentence(
    examples: Sequence[Example], config: PQRNNConfig
) -> npt.NDArray[np.int64] | npt.NDArray[np.float32] | None:
    names = config.labels or config.intents
    if not names:
        return None
    number = {name: index for index, name in enumerate(names)}
    answers = [e.labels if config.labels else (e.intent,) for e in examples]
    for example, answer in zip(examples, answers, strict=True):
        unknown = [name for name in answer if name not in number]
        if unknown or (len(answer) != 1 and not config.multi_label):
            raise ValueError(
                f"examples must have {'labels' if config.multi_label else 'one label'} that the "
                f"model knows, got {answer!r} for {example.text!r}"
            )
    if not config.multi_label:
        return np.array([number[answer[0]] for answer in answers], dtype=np.int64)
    matrix = np.zeros((len(answers), len(names)), dtype=np.float32)
    for row, answer in enumerate(answers):
        matrix[row, [number[name] for name in answer]] = 1
    return matrix
