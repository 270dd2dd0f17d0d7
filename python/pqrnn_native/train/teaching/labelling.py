"""Texts to soft labels, and texts without labels to further training rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...tags import Span, TagSet, decode_tags
from ..run_folder import progress_bar
from ..soft_labels import SoftLabels
from .ensemble import Ensemble
from .prediction import LabelTeacher, Prediction

__all__ = ["Labelled", "label"]

_TEXTS_AT_ONCE = 1024
_SMALLEST = 1e-30  # probabilities are not less, so that their logarithms are finite


class Labelled(NamedTuple):
    """What :func:`label` makes.

    Attributes:
        soft: of all texts.
        rows: of unlabelled texts that the teachers are sure of: what the reader ``jsonl`` takes,
            and ``score``, the confidence.
    """

    soft: SoftLabels
    rows: list[dict[str, Any]]


def label(
    teachers: Sequence[LabelTeacher],
    texts: Sequence[str],
    *,
    unlabelled: Sequence[str] = (),
    least: float = 0.4,
    progress: bool | None = None,
) -> Labelled:
    """Let teachers label texts; of several teachers the mean counts.

    The confidence of a row is the probability of its intent times the least probability among its
    tags; of a classifier the probability of its label; of several labels the least probability
    among all labels of being as the row says, there or not.

    Args:
        teachers: see :func:`.teacher.load_label_teacher`; all for one task.
        texts: training texts; they have gold labels already.
        unlabelled: further texts. Those that are not among ``texts`` may become rows.
        least: the least confidence of a row, [0, 1].
        progress: show a bar; None shows one on a terminal.

    Raises:
        ValueError: No texts, ``least`` is out of range, teachers for different tasks, or with
            different tokens.
    """
    if not 0 <= least <= 1:
        raise ValueError(f"least must be in [0, 1], got {least!r}")
    ensemble = Ensemble(teachers)
    gold = set(texts)
    every = list(dict.fromkeys([*texts, *unlabelled]))
    if not every:
        raise ValueError("texts must be at least one, got none")
    tags = TagSet(ensemble.slots) if ensemble.slots else None
    rows: list[dict[str, Any]] = []

    def predictions() -> Iterator[Prediction]:
        with progress_bar("label", total=len(every), unit="text", show=progress) as bar:
            for start in range(0, len(every), _TEXTS_AT_ONCE):
                part = every[start : start + _TEXTS_AT_ONCE]
                spans = ensemble.spans(part)
                for text, own, said in zip(part, spans, ensemble(part), strict=True):
                    if text not in gold:
                        row = _row(text, own, said, ensemble, tags)
                        if row["score"] >= least:
                            rows.append(row)
                    yield said
                bar.at(start + len(part), len(every))

    soft = SoftLabels(
        every, ensemble.names, ensemble.slots, predictions(), multi_label=ensemble.multi_label
    )
    return Labelled(soft, rows)


def _row(
    text: str, spans: Sequence[Span], said: Prediction, ensemble: Ensemble, tags: TagSet | None
) -> dict[str, Any]:
    """The most probable labels of a text, and their confidence."""
    row: dict[str, Any] = {"text": text}
    score = 1.0
    if ensemble.multi_label:
        there = said.sentence >= 0.5
        row["labels"] = [ensemble.names[k] for k in np.flatnonzero(there)]
        score = float(np.where(there, said.sentence, 1 - said.sentence).min())
    elif ensemble.names:
        best = int(said.sentence.argmax())
        row["label" if ensemble.task == "classify" else "intent"] = ensemble.names[best]
        score = float(said.sentence[best])
    if tags is not None:
        # The best sequence in which each tag may follow the one before.
        path = tags.best(np.log(np.maximum(said.tags, _SMALLEST)))
        row["slots"] = [list(s) for s in decode_tags(spans, [tags.names[k] for k in path])]
        score *= float(said.tags[np.arange(len(path)), path].min(initial=1.0))
    return {**row, "score": score}
