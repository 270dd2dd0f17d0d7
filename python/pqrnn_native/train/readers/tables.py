"""One's own data: CSV with a header, or JSON lines."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .base import (
    BadRow,
    Example,
    Kind,
    Row,
    Source,
    Task,
    attempt,
    json_id,
    json_object,
    json_value,
    label_example,
    numbered_lines,
    parse_example,
    rows_of_lines,
    tag_example,
)


def _find(path: Path) -> list[Source]:
    return [Source("train", "", (path,))]


def _csv_records(path: Path) -> Iterator[tuple[int, list[str] | BadRow]]:
    """Records with the line that each begins on; a quoted cell may hold line ends."""
    delimiter = "\t" if ".tsv" in path.name else ","
    reader = csv.reader((line + "\n" for _, line in numbered_lines(path)), delimiter=delimiter)
    while True:
        number = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, BadRow(str(error))
            continue
        if record:
            yield number, record


def _header(path: Path) -> list[str]:
    _, header = next(_csv_records(path), (0, []))
    return header if isinstance(header, list) else []


def read_table(path: Path, text: str, label: str, *, language: str = "") -> Iterator[Row]:
    """Rows of a CSV file with a header that names the columns ``text`` and ``label``.

    A column ``labels`` is a list with commas between. A column ``language`` outranks the argument.

    Raises:
        ValueError: the header lacks a column.
    """
    header = _header(path)
    missing = [name for name in (text, label) if name not in header]
    if missing:
        raise ValueError(f"{path} needs a header with {missing[0]!r}, got {header}")
    row = partial(
        _table_row,
        len(header),
        header.index(text),
        header.index(label),
        header.index("language") if "language" in header else None,
        language,
        _split_labels if label == "labels" else _one_label,
    )
    for position, (number, record) in enumerate(_csv_records(path)):
        if position > 0:
            yield number, record if isinstance(record, BadRow) else attempt(row, record)


def _one_label(cell: str) -> list[str]:
    return [cell.strip()]


def _split_labels(cell: str) -> list[str]:
    return [label.strip() for label in cell.split(",")] if cell.strip() else []


def _table_row(
    count: int,
    text: int,
    label: int,
    language: int | None,
    default: str,
    labels: Callable[[str], list[str]],
    record: list[str],
) -> Example:
    if len(record) != count:
        raise BadRow(f"{len(record)} columns instead of {count}")
    spoken = default if language is None else record[language]
    return label_example(record[text], spoken, labels(record[label]))


def _label_column(path: Path) -> str:
    return "labels" if "labels" in _header(path) else "label"


def _read_csv(source: Source) -> Iterator[Row]:
    path = source.paths[0]
    return read_table(path, "text", _label_column(path))


def _describe_csv(source: Source) -> tuple[Task, bool]:
    return "classify", _label_column(source.paths[0]) == "labels"


# What a JSON row says about its text; the first of them in the file's first good row decides.
_TARGETS = ("intent", "labels", "label", "slots")


def _target(path: Path) -> str:
    for _, line in numbered_lines(path):
        try:
            row = json_object(line)
        except BadRow:
            continue
        for target in _TARGETS:
            if target in row:
                return target
    raise ValueError(
        f"{path} has no row with 'text' and one of 'label', 'labels', 'intent' and 'slots'"
    )


def _read_jsonl(source: Source) -> Iterator[Row]:
    path = source.paths[0]
    return rows_of_lines(path, partial(_json_row, _target(path)))


def _json_row(target: str, line: str) -> Example:
    row = json_object(line)
    text = json_value(row, "text", str)
    language = json_value({"language": "", **row}, "language", str)
    number = json_id(row)
    if target == "intent":
        slots = json_value({"slots": [], **row}, "slots", list)
        intent = json_value(row, "intent", str)
        return parse_example(text, language, intent, slots, id=number)
    if target == "slots":
        return tag_example(text, language, json_value(row, "slots", list), id=number)
    if target == "label":
        return label_example(text, language, [json_value(row, "label", str)], id=number)
    labels = json_value(row, "labels", list)
    if not all(isinstance(label, str) for label in labels):
        raise BadRow(f"labels must be strings, got {labels!r}")
    return label_example(text, language, labels, id=number)


def _describe_jsonl(source: Source) -> tuple[Task, bool]:
    target = _target(source.paths[0])
    tasks: dict[str, Task] = {"intent": "parse", "slots": "tag"}
    return tasks.get(target, "classify"), target == "labels"


CSV = Kind(
    wanted="a file with a header of text and label or labels",
    find=_find,
    read=_read_csv,
    describe=_describe_csv,
    single_file=True,
)

JSONL = Kind(
    wanted="a file of JSON objects with text and label, labels, slots, or intent and slots",
    find=_find,
    read=_read_jsonl,
    describe=_describe_jsonl,
    single_file=True,
)
