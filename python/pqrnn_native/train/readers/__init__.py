"""Labelled data sets in the layouts that they are released in, named ``kind:path``."""

from __future__ import annotations

from collections.abc import Sequence

from . import base, labelled, massive, mtod, mtop, multiatis, tables, tokens
from .base import Example, Examples, Kind, Skipped, Split, Task

__all__ = ["KINDS", "Example", "Examples", "Skipped", "Split", "Task", "read_examples", "splits"]

KINDS: dict[str, Kind] = {
    "mtop": mtop.KIND,
    "multiatis": multiatis.KIND,
    "atis": tokens.ATIS,
    "massive": massive.KIND,
    "snips": tokens.SNIPS,
    "mtod": mtod.KIND,
    "iob": tokens.IOB,
    "csv": tables.CSV,
    "jsonl": tables.JSONL,
    "clinc150": labelled.CLINC150,
    "banking77": labelled.BANKING77,
    "goemotions": labelled.GOEMOTIONS,
    "sst2": labelled.SST2,
}


def read_examples(spec: str, split: str, languages: Sequence[str] | None = None) -> Examples:
    """Read one split of a data set.

    A row that does not have the form of its file is skipped and listed with its line number.

    Args:
        spec: ``kind:path``, the kind being one of `KINDS`.
        split: ``train``, ``dev`` or ``test``. A single file (``iob``, ``csv``, ``jsonl``) is read
            whatever the split is.
        languages: read these, in this order; None: all that have the split, sorted.

    Raises:
        ValueError: an unknown kind, split or language, a path that does not hold what the kind
            needs, or not a single usable row; one sentence.
        FileNotFoundError: the data set is there, but not this split of it.
    """
    return base.read_examples(KINDS, spec, split, languages)


def splits(spec: str) -> tuple[Split, ...]:
    """Which of ``train``, ``dev`` and ``test`` a data set has; of a single file, ``("train",)``.

    Raises:
        ValueError: as `read_examples`.
    """
    return base.splits(KINDS, spec)
