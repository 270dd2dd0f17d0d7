"""Several teachers as one: the mean of what they say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ...tags import Span
from ..inputs import plain_projection
from .prediction import LabelTeacher, Prediction, task_of_config

__all__ = ["Ensemble"]


class Ensemble:
    """The mean of teachers' probabilities, each with the same weight.

    A name that one of them does not have counts as improbable with it.

    Args:
        teachers: at least one.

    Attributes:
        task: ``"parse"``, ``"classify"`` or ``"tag"``.
        multi_label: of classifiers: whether each label has a probability of its own.
        names: intents or labels, the columns of ``sentence``; those of the first teacher come
            first, and so on.
        slots: tags, the columns of ``tags``.

    Raises:
        ValueError: No teacher, or some for different tasks.
    """

    def __init__(self, teachers: Sequence[LabelTeacher]) -> None:
        if not teachers:
            raise ValueError("teachers must be at least one, got none")
        self.teachers = tuple(teachers)
        kinds = [(task_of_config(t.config), t.config.multi_label) for t in teachers]
        self.task, self.multi_label = kinds[0]
        for teacher, kind in zip(teachers, kinds, strict=True):
            if kind != kinds[0]:
                several = (" of one label", " of several labels")
                said = [
                    f"{k!r}{several[m] if k == 'classify' else ''}" for k, m in (kinds[0], kind)
                ]
                raise ValueError(
                    f"teachers must be for one task, got {said[0]} ({self.teachers[0].name}) and "
                    f"{said[1]} ({teacher.name})"
                )
        self.names = _union(t.config.labels or t.config.intents for t in teachers)
        self.slots = _union(t.config.slots for t in teachers)
        self._columns = [
            (
                _columns(t.config.labels or t.config.intents, self.names),
                _columns(t.config.slots, self.slots),
            )
            for t in teachers
        ]
        projections = [t.config.projection for t in teachers]
        self._splitters = [plain_projection(each) for each in dict.fromkeys(projections)]

    def spans(self, texts: Sequence[str]) -> list[list[Span]]:
        """Start and end of each text's tokens; none where the teachers say nothing of them.

        Raises:
            ValueError: The teachers split a text differently.
        """
        if not self.slots:
            return [[] for _ in texts]
        first, *others = self._splitters
        found = [first.spans(text) for text in texts]
        for other in others:
            for text, own in zip(texts, found, strict=True):
                if other.spans(text) != own:
                    raise ValueError(f"teachers must have the same tokens, but differ on {text!r}")
        return found

    def __call__(self, texts: Sequence[str]) -> list[Prediction]:
        """The mean for each text, in float64.

        Raises:
            ValueError: The teachers split a text differently.
        """
        spans = self.spans(texts)
        sums = [
            Prediction(np.zeros(len(self.names)), np.zeros((len(own), len(self.slots))))
            for own in spans
        ]
        for teacher, (names, slots) in zip(self.teachers, self._columns, strict=True):
            for total, said in zip(sums, teacher(texts), strict=True):
                total.sentence[names] += said.sentence
                if len(self.slots):
                    total.tags[:, slots] += said.tags
        count = len(self.teachers)
        return [Prediction(each.sentence / count, each.tags / count) for each in sums]


def _union(names: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for own in names for name in own))


def _columns(names: Sequence[str], known: Sequence[str]) -> npt.NDArray[np.int64]:
    places = {name: place for place, name in enumerate(known)}
    return np.array([places[name] for name in names], np.int64)
