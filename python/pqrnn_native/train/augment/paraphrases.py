"""Other wordings of known texts, from a file or a mapping."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..batches import digest
from ..data import split_spec
from ..readers import Example, Skipped
from ..readers.base import (
    BadRow,
    attempt,
    checked_slots,
    json_object,
    json_value,
    numbered_lines,
)
from .base import Augmentation


class Paraphrases(Augmentation):
    """Exchanges a text for one of its paraphrases, which has the same intent and labels.

    They may come from a translation model and back, a language model or people (Kaliamoorthi et
    al., 2021, generate theirs by translation). A file has a JSON object on each line: ``of``, the
    original text, character for character; ``text``, the paraphrase; ``slots``, as start, end and
    label, where the original has some; and, if it is for texts of one language only, ``language``.
    Other keys are not looked at.

    A paraphrase whose slot labels are not those of the original is not used.

    Args:
        source: ``jsonl:FILE``, or a mapping from an original to its paraphrases: strings, or
            examples, of which text, slots and language count.
        share: probability that a text is changed, [0, 1]; each of its paraphrases is as likely.

    Attributes:
        skipped: lines of the file that have another form.

    Raises:
        ValueError: ``share`` is out of range, or the file has no usable row.
        FileNotFoundError: there is no such file.
        TypeError: the mapping holds something else.
    """

    def __init__(
        self, source: str | Mapping[str, Iterable[str | Example]], share: float = 0.5
    ) -> None:
        super().__init__(share)
        self.skipped: list[Skipped] = []
        pairs = _mapped(source) if isinstance(source, Mapping) else self._read(source)
        known: dict[str, dict[Example, None]] = {}
        for original, paraphrase in pairs:
            known.setdefault(original, {})[paraphrase] = None
        self._known = {original: list(rows) for original, rows in known.items()}
        if isinstance(source, str) and not known:
            first = f"; the first bad one: {self.skipped[0]}" if self.skipped else ""
            raise ValueError(f"{source!r} holds no paraphrase{first}")

    def reaches(self, example: Example) -> bool:
        return bool(self._fitting(example))

    def change(self, example: Example, rng: np.random.Generator) -> Example:
        fitting = self._fitting(example)
        if not fitting:
            return example
        drawn = fitting[int(rng.integers(len(fitting)))]
        return dataclasses.replace(example, text=drawn.text, slots=drawn.slots, tokens=())

    def describe(self) -> dict[str, Any]:
        rows = (
            json.dumps([original, row.text, row.slots, row.language])
            for original, rows in self._known.items()
            for row in rows
        )
        return {**super().describe(), "blake2b": digest(rows)}

    def _fitting(self, example: Example) -> list[Example]:
        labels = {label for _, _, label in example.slots}
        return [
            row
            for row in self._known.get(example.text, [])
            if row.language in ("", example.language)
            and {label for _, _, label in row.slots} == labels
        ]

    def _read(self, source: str) -> Iterator[tuple[str, Example]]:
        if not isinstance(source, str):
            raise TypeError(f"source must be 'jsonl:FILE' or a mapping, got {source!r:.200}")
        _, path = split_spec(source, ["jsonl"])
        if not path.is_file():
            raise ValueError(f"{source!r} is a folder, not a file")
        yield from self._rows(path)

    def _rows(self, path: Path) -> Iterator[tuple[str, Example]]:
        for number, line in numbered_lines(path):
            if line:
                row = attempt(_pair, line)
                if isinstance(row, BadRow):
                    self.skipped.append(Skipped(str(path), number, str(row)))
                else:
                    yield row


def _pair(line: str) -> tuple[str, Example]:
    row = json_object(line)
    original, text = json_value(row, "of", str), json_value(row, "text", str)
    language = json_value({"language": "", **row}, "language", str)
    if not text.strip():
        raise BadRow("no text")
    slots = json_value({"slots": [], **row}, "slots", list)
    return original, Example(text, language, slots=checked_slots(text, language, slots))


def _mapped(source: Mapping[Any, Any]) -> Iterator[tuple[str, Example]]:
    for original, rows in source.items():
        if not isinstance(original, str) or isinstance(rows, str):
            raise TypeError(
                f"source must map a text to a list of paraphrases, got {rows!r} for {original!r}"
            )
        for row in rows:
            if not isinstance(row, str | Example):
                raise TypeError(f"a paraphrase must be a str or an Example, got {row!r}")
            yield original, _bare(row)


def _bare(row: str | Example) -> Example:
    """Text, language and slots."""
    if isinstance(row, str):
        row = Example(row)
    if not row.text.strip():
        raise ValueError(f"a paraphrase must not be empty, got {row.text!r}")
    slots = checked_slots(row.text, row.language, row.slots)
    return Example(row.text, row.language, slots=slots)
