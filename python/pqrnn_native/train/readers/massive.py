"""MASSIVE: the official JSON lines, or tab-separated files with spans."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .base import (
    SPLIT_NAMES,
    SPLITS,
    BadRow,
    Example,
    Kind,
    Row,
    Source,
    attempt,
    columns,
    json_id,
    json_object,
    json_value,
    language_folders,
    numbered_lines,
    parse_example,
    parses,
    slots_of_string,
)

_LOCALE = re.compile(r"([a-z]{2,3})-[A-Z]{2}")
_ANNOTATION = re.compile(r"\[\s*([^\[\]:]+?)\s*:\s*([^\[\]]*?)\s*\]")


def _find(folder: Path) -> list[Source]:
    return language_folders(folder, [".tsv"]) or _official(folder) or _official(folder / "data")


def _official(folder: Path) -> list[Source]:
    if not folder.is_dir():
        return []
    paths = {p.name.split(".")[0]: p for p in sorted(folder.iterdir()) if ".jsonl" in p.name}
    locales = [locale for locale in paths if _LOCALE.fullmatch(locale)]
    languages = [locale.partition("-")[0] for locale in locales]
    return [
        # zh-CN and zh-TW keep their full names.
        Source(split, language if languages.count(language) == 1 else locale, (paths[locale],))
        for locale, language in zip(locales, languages, strict=True)
        for split in SPLITS
    ]


def _read(source: Source) -> Iterator[Row]:
    path = source.paths[0]
    if ".tsv" in path.name:
        return _read_columns(source)
    return _read_official(source)


def _read_columns(source: Source) -> Iterator[Row]:
    # The files of all languages have the same rows in the same order.
    for number, line in numbered_lines(source.paths[0]):
        if line:
            yield number, attempt(_from_columns, source.language, str(number), line)


def _from_columns(language: str, number: str, line: str) -> Example:
    # utterance, intent, scenario, locale, tags, spans, parse
    cells = columns(line, 7)
    return parse_example(cells[0], language, cells[1], slots_of_string(cells[5], ";"), id=number)


def _read_official(source: Source) -> Iterator[Row]:
    # A file holds all splits, so that a broken line may belong to any; it counts for each.
    for number, line in numbered_lines(source.paths[0]):
        if line:
            row = attempt(_from_json, source, line)
            if row is not None:
                yield number, row


def _from_json(source: Source, line: str) -> Example | None:
    row = json_object(line)
    partition, text, annotated, intent = (
        json_value(row, name, str) for name in ("partition", "utt", "annot_utt", "intent")
    )
    if partition not in SPLIT_NAMES[source.split]:
        return None
    pieces: list[str] = []
    slots: list[tuple[int, int, str]] = []
    length = end = 0
    for match in _ANNOTATION.finditer(annotated):
        outside, label, inside = annotated[end : match.start()], match[1], match[2]
        length += len(outside)
        slots.append((length, length + len(inside), label))
        pieces += outside, inside
        length += len(inside)
        end = match.end()
    plain = "".join([*pieces, annotated[end:]])
    if plain.split() != text.split():
        raise BadRow(f"annot_utt {annotated!r} does not spell utt {text!r}")
    return parse_example(plain, source.language, intent, slots, id=json_id(row))


KIND = Kind(
    wanted="a folder with en-US.jsonl (or data/en-US.jsonl) or LANGUAGE/train.tsv, plain or .gz",
    find=_find,
    read=_read,
    describe=parses,
)
