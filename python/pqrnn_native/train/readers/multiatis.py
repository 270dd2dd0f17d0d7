"""MultiATIS++ (LDC2021T04): ``train_EN.tsv`` with id, utterance, tags and intent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .base import (
    SPLIT_NAMES,
    Example,
    Kind,
    Row,
    Source,
    attempt,
    columns,
    numbered_lines,
    parse_example,
    parses,
    space_separated,
    tagged_tokens,
)

_NAME = re.compile(r"([a-z]+)_([A-Za-z]{2,3})\.tsv(\.gz)?")


def _find(folder: Path) -> list[Source]:
    splits = {name: split for split, names in SPLIT_NAMES.items() for name in names}
    found = []
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match and match[1] in splits and path.is_file():
            found.append(Source(splits[match[1]], match[2].lower(), (path,)))
    return found


def _read(source: Source) -> Iterator[Row]:
    for number, line in numbered_lines(source.paths[0]):
        if line and not line.startswith("id\t"):
            yield number, attempt(_row, source.language, line)


def _row(language: str, line: str) -> Example:
    number, utterance, tags, intent = columns(line, 4)
    tagged = tagged_tokens(space_separated(utterance), space_separated(tags))
    return parse_example(tagged.text, language, intent, tagged.slots, id=number)


KIND = Kind(
    wanted="a folder with train_EN.tsv, plain or .gz (likewise dev, test and other languages)",
    find=_find,
    read=_read,
    describe=parses,
)
