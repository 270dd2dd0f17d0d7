"""Labelled examples as arrays: what a training step needs of them besides the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from ..config import PQRNNConfig, ProjectionConfig
from ..projection import Projection
from ..tags import TagSet, encode_tags
from .readers import Example

IGNORED = -100  # torch's own mark for a token that takes no part in the loss


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
        tag_set: what the numbers in ``tags`` stand for; None for a classifier.
    """

    texts: list[str]
    lengths: npt.NDArray[np.int64]
    sentence: npt.NDArray[np.int64] | npt.NDArray[np.float32] | None
    tags: npt.NDArray[np.int64] | None
    starts: npt.NDArray[np.int64]
    tag_set: TagSet | None

    def __len__(self) -> int:
        return len(self.texts)

    def batch_tags(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Tags of the tokens of these rows, int64 ``[tokens]``."""
        assert self.tags is not None
        parts = [self.tags[self.starts[row] : self.starts[row + 1]] for row in rows]
        return np.concatenate(parts)


def encode_rows(
    examples: Sequence[Example],
    config: PQRNNConfig,
    max_tokens: int = 0,
    spans: Sequence[Sequence[tuple[int, int]]] | None = None,
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
    starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
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
        TagSet(config.slots) if config.slots else None,
    )


def token_spans(texts: Sequence[str], config: ProjectionConfig) -> list[list[tuple[int, int]]]:
    """Character spans of each text's tokens as the model sees them, without marks."""
    projection = Projection(**{**asdict(config), "distortion": 0.0})
    return [projection.spans(text) for text in texts]


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
