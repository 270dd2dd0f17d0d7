"""New labelled texts from old ones: slot values change places."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from ..tags import SpanLabel
from .readers import Example

_SHARE = 0.5  # of the slots of a text that is changed


class SlotExchange:
    """Gives a slot the value that another text of its language has for a slot of the same label.

    "wake me at [seven]" becomes "wake me at [half past nine]": the intent and the labels stay, and
    the words of rare values are seen in more places than where they happen to stand.

    Args:
        examples: where values come from; each distinct one of a language and label counts once.
    """

    def __init__(self, examples: Iterable[Example]) -> None:
        found: dict[tuple[str, str], dict[str, None]] = {}
        for row in examples:
            for start, end, label in row.slots:
                found.setdefault((row.language, label), {})[row.text[start:end]] = None
        self._values = {key: list(values) for key, values in found.items()}

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """The example with some of its slots' values exchanged.

        Each slot is exchanged with probability one half.

        Args:
            example: of a language and with labels that were among the examples, or its slots stay.
            rng: chooses slots and values.
        """
        parts: list[str] = []
        slots: list[SpanLabel] = []
        size = at = 0  # characters of the new text and of the old one
        for start, end, label in example.slots:
            value = example.text[start:end]
            values = self._values.get((example.language, label))
            if values and rng.random() < _SHARE:
                value = values[int(rng.integers(len(values)))]
            parts += example.text[at:start], value
            size += start - at + len(value)
            slots.append((size - len(value), size, label))
            at = end
        text = "".join((*parts, example.text[at:]))
        return dataclasses.replace(example, text=text, slots=tuple(slots), tokens=())
