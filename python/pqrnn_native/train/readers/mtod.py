"""Facebook's multilingual task-oriented data: intent, slots, utterance, locale, tokens."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .base import (
    SPLIT_NAMES,
    Example,
    Kind,
    Row,
    Source,
    columns,
    language_folders,
    parse_example,
    parses,
    rows_of_lines,
    slots_of_string,
)


def _find(folder: Path) -> list[Source]:
    return language_folders(folder, [".tsv"]) or _official(folder)


def _official(folder: Path) -> list[Source]:
    found = []
    for inner in sorted(p for p in folder.iterdir() if p.is_dir()):
        for split, names in SPLIT_NAMES.items():
            # "en/train-en.tsv", but "th/train-th_TH.tsv"
            paths = [p for name in names for p in sorted(inner.glob(f"{name}-{inner.name}*.tsv*"))]
            if paths:
                found.append(Source(split, inner.name, (paths[0],)))
    return found


def _read(source: Source) -> Iterator[Row]:
    return rows_of_lines(source.paths[0], partial(_row, source.language))


def _row(language: str, line: str) -> Example:
    cells = columns(line, 5)
    return parse_example(cells[2], language, cells[0], slots_of_string(cells[1], ","))


KIND = Kind(
    wanted="a folder with LANGUAGE/train-LANGUAGE.tsv or LANGUAGE/train.tsv, plain or .gz "
    "(likewise eval, test)",
    find=_find,
    read=_read,
    describe=parses,
)
