"""Classification data sets: CLINC150, BANKING77, GoEmotions and SST-2."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from .base import (
    BadRow,
    Example,
    Kind,
    Row,
    Source,
    Split,
    Task,
    attempt,
    classifies,
    columns,
    existing,
    label_example,
    numbered_lines,
    rows_of_lines,
    split_files,
)
from .tables import read_table

_LANGUAGE = "en"

# Out-of-scope questions are one more intent.
_CLINC_PARTS: Mapping[Split, tuple[str, str]] = {
    "train": ("train", "oos_train"),
    "dev": ("val", "oos_val"),
    "test": ("test", "oos_test"),
}


def _clinc(path: Path) -> dict[str, Any]:
    text = "\n".join(line for _, line in numbered_lines(path))
    try:
        parts = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(parts, dict):
        raise ValueError(f"{path} is not a JSON object of lists")
    return parts


def _find_clinc(folder: Path) -> list[Source]:
    path = existing(folder, ["data_full", "train_val"], [".json"])
    if path is None:
        return []
    parts = _clinc(path)
    return [Source(s, _LANGUAGE, (path,)) for s, (name, _) in _CLINC_PARTS.items() if name in parts]


def _read_clinc(source: Source) -> Iterator[Row]:
    parts = _clinc(source.paths[0])
    rows = [row for name in _CLINC_PARTS[source.split] for row in parts.get(name, [])]
    for number, row in enumerate(rows, start=1):
        yield number, attempt(_clinc_row, row)


def _clinc_row(row: Any) -> Example:
    pair = isinstance(row, list) and len(row) == 2 and all(isinstance(x, str) for x in row)
    if not pair:
        raise BadRow(f"not a text and an intent: {row!r}")
    return label_example(row[0], _LANGUAGE, [row[1]])


def _find_banking(folder: Path) -> list[Source]:
    return split_files(folder, [".csv"], _LANGUAGE)


def _read_banking(source: Source) -> Iterator[Row]:
    return read_table(source.paths[0], "text", "category", language=_LANGUAGE)


def _find_emotions(folder: Path) -> list[Source]:
    names = existing(folder, ["labels", "emotions"], [".txt"])
    if names is None:
        return []
    found = split_files(folder, [".tsv"], _LANGUAGE)
    return [Source(s.split, s.language, (*s.paths, names)) for s in found]


def _read_emotions(source: Source) -> Iterator[Row]:
    path, names = source.paths
    labels = [line.strip() for _, line in numbered_lines(names) if line.strip()]
    return rows_of_lines(path, partial(_emotions_row, labels))


def _emotions_row(names: list[str], line: str) -> Example:
    text, numbers, _ = columns(line, 3)
    labels = []
    for number in numbers.split(","):
        if not number.isdecimal() or int(number) >= len(names):
            raise BadRow(f"labels must be numbers below {len(names)}, got {numbers!r}")
        labels.append(names[int(number)])
    return label_example(text, _LANGUAGE, labels)


def _several(_: Source) -> tuple[Task, bool]:
    return "classify", True


_SENTIMENT = {"0": "negative", "1": "positive"}


def _find_sst2(folder: Path) -> list[Source]:
    return split_files(folder, [".tsv"], _LANGUAGE)


def _read_sst2(source: Source) -> Iterator[Row]:
    for number, line in numbered_lines(source.paths[0]):
        # GLUE's copy has a header.
        if line and not (number == 1 and line == "sentence\tlabel"):
            yield number, attempt(_sst2_row, line)


def _sst2_row(line: str) -> Example:
    text, label = columns(line, 2)
    if label not in _SENTIMENT:
        raise BadRow(f"the label must be 0 or 1, got {label!r}")
    return label_example(text, _LANGUAGE, [_SENTIMENT[label]])


CLINC150 = Kind(
    wanted="a folder with data_full.json or train_val.json, plain or .gz",
    find=_find_clinc,
    read=_read_clinc,
    describe=classifies,
)

BANKING77 = Kind(
    wanted="a folder with train.csv (text,category), plain or .gz (likewise test)",
    find=_find_banking,
    read=_read_banking,
    describe=classifies,
)

GOEMOTIONS = Kind(
    wanted="a folder with train.tsv, plain or .gz (likewise dev, test), "
    "and labels.txt or emotions.txt",
    find=_find_emotions,
    read=_read_emotions,
    describe=_several,
)

SST2 = Kind(
    wanted="a folder with train.tsv of sentence and 0 or 1, plain or .gz (likewise dev, test)",
    find=_find_sst2,
    read=_read_sst2,
    describe=classifies,
)
