"""Batches of texts of like length, in an order that follows from the seed and the epoch alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]

_BUCKET = 16  # batches that are sorted by length together


def batches(
    lengths: np.ndarray, size: int, seed: int, epoch: int, *, least: int | None = None
) -> list[Rows]:
    """Shuffled batches of texts of like length: int64 rows ``[size]`` each.

    Depends on the arguments alone, so that a resumed run sees the same order.

    Args:
        lengths: ``[n]``, in any unit.
        size: rows of a batch.
        seed, epoch: choose the order.
        least: the rows that do not fill a batch make one of their own if they are that many;
            None leaves them out.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    bucket = size * _BUCKET
    parts: list[Rows] = []
    for start in range(0, len(order), bucket):
        rows = order[start : start + bucket]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        parts += [rows[at : at + size] for at in range(0, len(rows) - size + 1, size)]
        rest = len(rows) % size
        if least is not None and rest >= max(1, least):
            parts.append(rows[-rest:])
    return [parts[index] for index in rng.permutation(len(parts))]


def count(rows: int, size: int, *, least: int | None = None) -> int:
    """Number of batches that :func:`batches` makes of that many rows."""
    rest = rows % size
    return rows // size + (least is not None and rest >= max(1, least))


def endless(
    lengths: np.ndarray, size: int, seed: int, first: int, steps: int, *, least: int | None = None
) -> Iterator[tuple[int, Rows]]:
    """(step, rows) from step ``first`` on, the same for a resumed run as for an unbroken one."""
    each = count(len(lengths), size, least=least)
    for epoch in range(first // each, -(-steps // each)):
        for at, rows in enumerate(batches(lengths, size, seed, epoch, least=least)):
            step = epoch * each + at
            if first <= step < steps:
                yield step, rows


def digest(lines: Iterable[str]) -> str:
    """BLAKE2b-128 of lines of text in hexadecimal: names the data of a run."""
    state = hashlib.blake2b(digest_size=16)
    for line in lines:
        state.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return state.hexdigest()
