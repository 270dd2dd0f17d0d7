"""Slot values that change places between texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from ...tags import SpanLabel
from ..readers import Example
from .base import Augmentation

_SHARE_OF_SLOTS = 0.5  # of a text that is changed

_Frame: TypeAlias = tuple[str, str, tuple[str, ...], tuple[str, ...]]


class SlotExchange(Augmentation):
    """Gives a slot the value that another text of its language has for a slot of the same label.

    "wake me at [seven]" becomes "wake me at [half past nine]": the intent and the labels stay, and
    the words of rare values are seen in more places than where they happen to stand. Of a text that
    is changed, each slot is exchanged with probability one half.

    Args:
        examples: where values come from; each distinct one of a language and label counts once.
        share: probability that a text is changed, [0, 1].

    Raises:
        ValueError: ``share`` is out of range.
    """

    def __init__(self, examples: Iterable[Example], share: float = 1.0) -> None:
        super().__init__(share)
        found: dict[tuple[str, str], dict[str, None]] = {}
        for row in examples:
            for (_, _, label), value in zip(row.slots, values_of(row), strict=True):
                found.setdefault((row.language, label), {})[value] = None
        self._values = {key: list(values) for key, values in found.items()}

    def reaches(self, example: Example) -> bool:
        return any(
            other != value
            for (_, _, label), value in zip(example.slots, values_of(example), strict=True)
            for other in self._values.get((example.language, label), ())
        )

    def change(self, example: Example, rng: np.random.Generator) -> Example:
        own = values_of(example)
        for at, (_, _, label) in enumerate(example.slots):
            values = self._values.get((example.language, label))
            if values and rng.random() < _SHARE_OF_SLOTS:
                own[at] = values[int(rng.integers(len(values)))]
        return with_values(example, own)


class TemplateRecombination(Augmentation):
    """Fills a text's template with all the values of another text of the same meaning.

    A template is what stands around the slots. The other text has the same language, intent and
    slot labels, each as often. "play [Hurt] by [Cash]" and "I want [Bach]'s [Toccata]" make
    "play [Toccata] by [Bach]" and "I want [Cash]'s [Hurt]". Several slots of one label keep their
    order.

    :class:`SlotExchange` draws each value by itself, from texts of any intent: it makes more
    different texts, among them some that nobody would say. Here values that occur together stay
    together, and come from texts of the same intent.

    Args:
        examples: where values come from; values that occur together in several texts count once.
        share: probability that a text is changed, [0, 1].

    Raises:
        ValueError: ``share`` is out of range.
    """

    def __init__(self, examples: Iterable[Example], share: float = 1.0) -> None:
        super().__init__(share)
        numbers: dict[_Frame, dict[tuple[str, ...], int]] = {}
        for row in examples:
            if row.slots:
                known = numbers.setdefault(_frame(row), {})
                known.setdefault(_values_by_label(row), len(known))
        self._numbers = numbers
        self._values = {frame: list(known) for frame, known in numbers.items()}

    def reaches(self, example: Example) -> bool:
        known = self._numbers.get(_frame(example), {})
        return len(known) > (_values_by_label(example) in known)

    def change(self, example: Example, rng: np.random.Generator) -> Example:
        if not self.reaches(example):
            return example
        frame = _frame(example)
        own = self._numbers[frame].get(_values_by_label(example))
        drawn = int(rng.integers(len(self._values[frame]) - (own is not None)))
        if own is not None and drawn >= own:
            drawn += 1  # any but its own
        values = [""] * len(example.slots)
        for at, value in zip(_by_label(example), self._values[frame][drawn], strict=True):
            values[at] = value
        return with_values(example, values)


def values_of(example: Example) -> list[str]:
    """The text of each slot."""
    return [example.text[start:end] for start, end, _ in example.slots]


def with_values(example: Example, values: Sequence[str]) -> Example:
    """The example with these values in its slots; itself if it has them already.

    Args:
        example: its slots must ascend without overlap.
        values: one for each slot; what stands between the slots stays, character for character.
    """
    if list(values) == values_of(example):
        return example
    parts: list[str] = []
    slots: list[SpanLabel] = []
    size = at = 0  # characters of the new text and of the old one
    for (start, end, label), value in zip(example.slots, values, strict=True):
        parts += example.text[at:start], value
        size += start - at + len(value)
        slots.append((size - len(value), size, label))
        at = end
    text = "".join((*parts, example.text[at:]))
    return dataclasses.replace(example, text=text, slots=tuple(slots), tokens=())


def _by_label(example: Example) -> list[int]:
    """Numbers of the slots by label; those of one label in the order of the text."""
    return sorted(range(len(example.slots)), key=lambda at: example.slots[at][2])


def _values_by_label(example: Example) -> tuple[str, ...]:
    values = values_of(example)
    return tuple(values[at] for at in _by_label(example))


def _frame(example: Example) -> _Frame:
    """What two texts must share so that one can have the other's values."""
    labels = tuple(sorted(label for _, _, label in example.slots))
    return example.language, example.intent, example.labels, labels
