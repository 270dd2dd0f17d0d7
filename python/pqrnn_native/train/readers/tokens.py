"""Tokens with IOB tags: ATIS and SNIPS as they are passed around, and plain IOB columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, zip_longest
from pathlib import Path

from .base import (
    SPLIT_NAMES,
    BadRow,
    Example,
    Kind,
    Row,
    Source,
    Task,
    attempt,
    columns,
    existing,
    numbered_lines,
    parse_example,
    parses,
    rows_of_lines,
    space_separated,
    tagged_tokens,
)

_LANGUAGE = "en"
_TAG = re.compile(r"O|[BI]-.+", re.DOTALL)
_INTENT_COMMENT = re.compile(r"# *intent *[:=] *(\S+)")


def _find(folder: Path) -> list[Source]:
    files = sorted(p for p in folder.iterdir() if p.is_file())
    found = []
    for split, names in SPLIT_NAMES.items():
        for name in names:
            parallel = [existing(folder / name, [s], [""]) for s in ("seq.in", "seq.out", "label")]
            paths = tuple(path for path in parallel if path is not None)
            if len(paths) < 3:
                # "train.tsv", but also "atis-2.train.w-intent.iob".
                paths = tuple(p for p in files if name in p.name.split("."))[:1]
            if paths:
                found.append(Source(split, _LANGUAGE, paths))
                break
    return found


def _read(source: Source) -> Iterator[Row]:
    if len(source.paths) == 3:
        return _read_parallel(source)
    path = source.paths[0]
    # In rows, a cell holds a whole sentence; that each has a single word would be odd.
    head = islice(numbered_lines(path), 200)
    if any(" " in line.partition("\t")[0] and "\t" in line for _, line in head):
        return rows_of_lines(path, _row)
    return ((n, _with_intent(row)) for n, row in _sentences(path, intents=True))


def _parsed(tokens: list[str], tags: list[str], intent: str) -> Example:
    tagged = tagged_tokens(tokens, tags)
    return parse_example(tagged.text, _LANGUAGE, intent, tagged.slots)


def _read_parallel(source: Source) -> Iterator[Row]:
    lines = [[line for _, line in numbered_lines(path)] for path in source.paths]
    for number, cells in enumerate(zip_longest(*lines), start=1):
        if any(cells):
            yield number, attempt(_parallel, source, cells)


def _parallel(source: Source, cells: tuple[str | None, ...]) -> Example:
    words, tags, intent = cells
    if words is None or tags is None or intent is None:
        name = source.paths[cells.index(None)].name
        raise BadRow(f"{name} has no such line")
    return _parsed(space_separated(words), space_separated(tags), intent.strip())


def _row(line: str) -> Example:
    if line.count("\t") == 1:
        # "BOS show flights EOS", and the tags end in the intent.
        words, tags = (space_separated(cell) for cell in line.split("\t"))
        if words[:1] != ["BOS"] or words[-1] != "EOS" or len(words) != len(tags):
            raise BadRow("2 columns, but not 'BOS ... EOS' and as many tags, the last the intent")
        return _parsed(words[1:-1], tags[1:-1], tags[-1])
    first, second, intent = columns(line, 3)
    return _parsed(space_separated(first), space_separated(second), intent.strip())


def _sentences(path: Path, *, intents: bool = False) -> Iterator[Row]:
    """Sentences of one token a line, its tag in the last column, empty lines between.

    With ``intents`` a sentence says its intent in a comment, in a third column or as the tag of a
    last token EOS.
    """
    block: list[tuple[int, str]] = []
    for number, line in numbered_lines(path):
        if line.strip():
            block.append((number, line))
        elif block:
            yield from _sentence(block, intents)
            block = []
    if block:
        yield from _sentence(block, intents)


def _sentence(block: list[tuple[int, str]], intents: bool) -> Iterator[Row]:
    tokens: list[str] = []
    tags: list[str] = []
    intent = ""
    for number, line in block:
        cells = line.split("\t") if "\t" in line else line.split()
        comment = _INTENT_COMMENT.fullmatch(line.strip()) if intents else None
        if comment:
            intent = comment[1]
            continue
        if cells[0] == "-DOCSTART-" or (line.startswith("# ") and not _TAG.fullmatch(cells[-1])):
            continue
        if intents and cells[0] in ("BOS", "EOS"):
            if cells[0] == "EOS":
                intent = cells[-1]
            continue
        if intents and len(cells) == 3:
            intent = cells.pop()
        if len(cells) < 2 or not cells[0]:
            yield number, BadRow(f"not a token and a tag: {line!r}")
            return
        if not _TAG.fullmatch(cells[-1]):
            yield number, BadRow(f"a tag must be O, B-X or I-X, got {cells[-1]!r}")
            return
        tokens.append(cells[0])
        tags.append(cells[-1])
    if tokens:
        row = attempt(tagged_tokens, tokens, tags)
        yield block[0][0], replace(row, intent=intent) if isinstance(row, Example) else row


def _with_intent(row: Example | BadRow) -> Example | BadRow:
    if isinstance(row, BadRow):
        return row
    return attempt(parse_example, row.text, _LANGUAGE, row.intent, row.slots)


def _find_file(path: Path) -> list[Source]:
    return [Source("train", "", (path,))]


def _read_iob(source: Source) -> Iterator[Row]:
    return _sentences(source.paths[0])


def _tags(_: Source) -> tuple[Task, bool]:
    return "tag", False


_LAYOUTS = (
    "train/seq.in, seq.out and label, or a file train.tsv of tokens, tags and intent{}, "
    "plain or .gz (likewise dev or valid, test)"
)

SNIPS = Kind(wanted="a folder with " + _LAYOUTS.format(""), find=_find, read=_read, describe=parses)

ATIS = Kind(
    wanted="a folder with " + _LAYOUTS.format(", or IOB columns, or *.train.*.iob"),
    find=_find,
    read=_read,
    describe=parses,
)

IOB = Kind(
    wanted="a file with a token and its tag on each line",
    find=_find_file,
    read=_read_iob,
    describe=_tags,
    single_file=True,
)
