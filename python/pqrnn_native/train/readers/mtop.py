"""MTOP: the official tab-separated files, or rows with recovered offsets as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .base import (
    Example,
    Kind,
    Overlap,
    Row,
    Source,
    columns,
    json_id,
    json_object,
    json_value,
    language_folders,
    parse_example,
    parses,
    rows_of_lines,
    slots_of_string,
)

_ENDINGS = (".spans.jsonl", ".txt", ".tsv")


def _find(folder: Path) -> list[Source]:
    return language_folders(folder, _ENDINGS)


def _read(source: Source) -> Iterator[Row]:
    path = source.paths[0]
    spans = ".spans.jsonl" in path.name
    return rows_of_lines(path, partial(_from_json if spans else _official, source.language))


def _from_json(language: str, line: str) -> Example:
    row = json_object(line)
    text, intent = json_value(row, "utterance", str), json_value(row, "intent", str)
    if row.get("slots", ...) is None:
        raise Overlap("slots overlap", language)
    return parse_example(text, language, intent, json_value(row, "slots", list), id=json_id(row))


def _official(language: str, line: str) -> Example:
    # id, intent, slots, utterance, domain, locale, nested parse, tokens
    cells = columns(line, 8)
    return parse_example(cells[3], language, cells[1], slots_of_string(cells[2], ","), id=cells[0])


KIND = Kind(
    wanted="a folder with LANGUAGE/train.txt (8 columns) or LANGUAGE/train.spans.jsonl, "
    "plain or .gz (likewise eval, test)",
    find=_find,
    read=_read,
    describe=parses,
)
