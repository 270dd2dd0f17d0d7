"""What :func:`pqrnn_native.train.fit` takes as data: examples, lists of them, or names of sets."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from .batches import digest
from .readers import Example, Examples, Skipped, Split, read_examples, splits
from .settings import Task

Source: TypeAlias = Examples | Iterable[Example] | str | Sequence[str]

_DEV_SHARE = 0.1


def examples_of(
    source: Source, split: Split, task: Task | None = None, languages: Sequence[str] | None = None
) -> Examples:
    """The examples that a source stands for.

    Args:
        source: examples, a list of them, or one or several names ``kind:path``.
        split: which split of named sets.
        task: of a list of examples; None: what they have of intents, labels and slots tells.
        languages: of named sets.

    Raises:
        ValueError: no example, sets of different tasks, or another task than asked for.
        TypeError: something else than examples or names.
        FileNotFoundError: a named set does not have that split.
    """
    if isinstance(source, Examples):
        found = source
    else:
        items: list[str | Example] = [source] if isinstance(source, str) else list(source)
        names = [item for item in items if isinstance(item, str)]
        rows = [item for item in items if isinstance(item, Example)]
        if items and len(names) == len(items):
            found = _joined([read_examples(name, split, languages) for name in names])
        elif items and len(rows) == len(items):
            kind = _task_of(rows, task)
            several = kind == "classify" and any(len(row.labels) != 1 for row in rows)
            found = Examples(kind, rows, multi_label=several)
        else:
            raise TypeError(
                f"{split} data must be examples or names kind:path, got {source!r:.200}"
            )
    if task is None or found.task == task:
        return found
    if task == "tag" and found.task == "parse":  # the slots alone
        rows = [dataclasses.replace(row, intent="") for row in found.rows]
        return dataclasses.replace(found, task="tag", rows=rows)
    if task == "classify" and found.task == "parse":  # the intents alone
        rows = [
            dataclasses.replace(row, intent="", slots=(), labels=(row.intent,))
            for row in found.rows
        ]
        return Examples("classify", rows, found.skipped)
    raise ValueError(f"{split} data are for task {found.task!r}, not {task!r}")


def dev_of(
    source: Source, train: Examples, seed: int, languages: Sequence[str] | None = None
) -> tuple[Examples, Examples]:
    """Training and dev examples where no dev data are given.

    Named sets that all have a dev split give it. Otherwise a tenth of the training examples is set
    aside, chosen by the seed.
    """
    items = [source] if isinstance(source, str) else source
    listed = isinstance(items, list | tuple)
    names = [item for item in items if isinstance(item, str)] if listed else []
    if names and all("dev" in splits(name) for name in names):
        return train, examples_of(names, "dev", train.task, languages)
    if len(train) < 4:
        raise ValueError(f"train must have at least 4 rows to set some aside, got {len(train)}")
    order = np.random.default_rng(seed).permutation(len(train))
    size = max(1, round(_DEV_SHARE * len(train)))
    rest, dev = (
        [train.rows[row] for row in np.sort(part)] for part in (order[size:], order[:size])
    )
    return (
        dataclasses.replace(train, rows=rest),
        dataclasses.replace(train, rows=dev, skipped=[], unparsed={}),
    )


def digest_of(examples: Examples) -> str:
    """BLAKE2b-128 of the examples, in hexadecimal."""
    return digest(json.dumps(dataclasses.astuple(row), ensure_ascii=False) for row in examples)


def skipped_lines(rows: Sequence[Skipped], most: int = 20) -> list[str]:
    """Lines that tell which rows were skipped, the first ones by name."""
    more = [f"skipped: {len(rows) - most} more rows"] if len(rows) > most else []
    return [f"skipped: {row}" for row in rows[:most]] + more


def _task_of(rows: Sequence[Example], wanted: Task | None) -> Task:
    """What rows are for; where they have labels as well as intents, the wish decides."""
    has_labels, has_intents = any(row.labels for row in rows), any(row.intent for row in rows)
    if has_labels and not (has_intents and wanted in ("parse", "tag")):
        return "classify"
    return "parse" if has_intents else "tag"


def _joined(parts: Sequence[Examples]) -> Examples:
    tasks = {part.task for part in parts}
    if len(tasks) > 1:
        raise ValueError(f"data sets must be for one task, got {', '.join(sorted(tasks))}")
    unparsed: dict[str, int] = {}
    for part in parts:
        for language, number in part.unparsed.items():
            unparsed[language] = unparsed.get(language, 0) + number
    return Examples(
        parts[0].task,
        [row for part in parts for row in part.rows],
        [skipped for part in parts for skipped in part.skipped],
        any(part.multi_label for part in parts),
        unparsed,
    )
