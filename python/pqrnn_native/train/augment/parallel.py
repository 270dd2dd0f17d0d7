"""The same row in another language."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..readers import Example
from .base import Augmentation


class ParallelRows(Augmentation):
    """Shows a text in another of its languages, for data that are parallel over languages.

    The other text is a row of the same id, intent and labels, with its own slots. A row without an
    id, or in the only language, stays.

    Args:
        examples: the rows of all languages.
        share: probability that a text is changed, [0, 1]; each other language is as likely.

    Raises:
        ValueError: ``share`` is out of range.
    """

    def __init__(self, examples: Iterable[Example], share: float = 1.0) -> None:
        super().__init__(share)
        self._rows: dict[tuple[str, str, tuple[str, ...]], list[Example]] = {}
        for row in examples:
            if row.id:
                self._rows.setdefault((row.id, row.intent, row.labels), []).append(row)

    def reaches(self, example: Example) -> bool:
        return bool(self._others(example))

    def change(self, example: Example, rng: np.random.Generator) -> Example:
        others = self._others(example)
        return others[int(rng.integers(len(others)))] if others else example

    def _others(self, example: Example) -> list[Example]:
        rows = self._rows.get((example.id, example.intent, example.labels), [])
        return [row for row in rows if row.language != example.language]
