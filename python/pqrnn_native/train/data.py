"""Reading text and sentence-pair files, named ``kind:path`` on the command line."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

_SUFFIXES = (".txt", ".txt.gz")


def open_text(path: str | Path) -> TextIO:
    """Open a UTF-8 file, gzip or plain; a malformed byte becomes U+FFFD."""
    path = Path(path)
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path, "rb"), "utf-8", errors="replace", newline="\n")
    return open(path, encoding="utf-8", errors="replace", newline="\n")


def split_spec(spec: str, kinds: Sequence[str]) -> tuple[str, Path]:
    """Split ``kind:path`` and check that the path exists.

    Raises:
        ValueError: no known kind.
        FileNotFoundError: no such file or folder.
    """
    kind, separator, rest = spec.partition(":")
    if not separator or kind not in kinds or not rest:
        wanted = ", ".join(f"{k}:PATH" for k in kinds)
        raise ValueError(f"data must be named as one of {wanted}, got {spec!r}")
    path = Path(rest)
    if not path.exists():
        raise FileNotFoundError(f"{spec!r}: no such file or folder")
    return kind, path


def language_of(path: Path) -> str:
    """The language part of a name like ``wikisplit.en.txt.gz`` or ``de.txt``."""
    stem = path.name
    for suffix in (".gz", ".txt"):
        stem = stem.removesuffix(suffix)
    return stem.rpartition(".")[2]


def text_files(spec: str, languages: Sequence[str] | None = None) -> list[Path]:
    """The files that ``text:PATH`` names, sorted: a file, or every ``*.txt[.gz]`` below a folder.

    Args:
        spec: ``text:PATH``.
        languages: keep only files of a folder whose name carries one of these codes.

    Raises:
        ValueError: not a ``text:`` name, or nothing is left to read.
    """
    _, path = split_spec(spec, ["text"])
    if path.is_file():
        return [path]
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.name.endswith(_SUFFIXES))
    if languages:
        files = [p for p in files if language_of(p) in languages]
    if not files:
        raise ValueError(f"{spec!r} holds no .txt or .txt.gz file for languages {languages}")
    return files


def read_sentences(
    specs: Iterable[str], languages: Sequence[str] | None = None, *, limit: int | None = None
) -> list[str]:
    """Distinct non-empty lines of all named files, in order of first appearance.

    Args:
        limit: stop after that many sentences of each file.
    """
    seen: dict[str, None] = {}
    for spec in specs:
        for path in text_files(spec, languages):
            with open_text(path) as lines:
                for number, line in enumerate(lines):
                    if limit is not None and number >= limit:
                        break
                    text = line.strip()
                    if text:
                        seen[text] = None
    return list(seen)


def read_translations(spec: str) -> list[list[str]]:
    """Read ``tsv:FILE``: a line has one sentence in several languages, with tabs between.

    Lines of fewer than two sentences are left out.
    """
    _, path = split_spec(spec, ["tsv"])
    with open_text(path) as lines:
        groups = [[t for text in line.split("\t") if (t := text.strip())] for line in lines]
    return [group for group in groups if len(group) > 1]


@dataclass(frozen=True)
class SentencePairs:
    """Pairs of sentences with a graded similarity, as in STS-B.

    Attributes:
        first, second: the sentences, ``n`` each.
        scores: float64 ``[n]``, higher is more similar.
    """

    first: list[str]
    second: list[str]
    scores: np.ndarray


def _pair_rows(path: Path) -> Iterator[tuple[str, str, float]]:
    with open_text(path) as lines:
        for number, row in enumerate(csv.reader(lines), start=1):
            try:
                first, second, score = row
                yield first, second, float(score)
            except ValueError:
                raise ValueError(
                    f"{path}: line {number} is not 'sentence1,sentence2,score': {row!r}"
                ) from None


def read_pairs(spec: str) -> SentencePairs:
    """Read ``sts:FILE``, a CSV file ``sentence1,sentence2,score`` without a header.

    Raises:
        ValueError: a row has another form; the message carries its line number.
    """
    _, path = split_spec(spec, ["sts"])
    rows = list(_pair_rows(path))
    if not rows:
        raise ValueError(f"{spec!r} holds no pair")
    first, second, scores = zip(*rows, strict=True)
    return SentencePairs(list(first), list(second), np.array(scores, dtype=np.float64))
