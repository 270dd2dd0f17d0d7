"""Which subwords make up each of our tokens, by the characters that both stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...tags import Span

__all__ = ["align", "places"]


def align(spans: Sequence[Span], offsets: Sequence[Span]) -> npt.NDArray[np.float32]:
    """Shares of subwords in tokens: a token is the mean of the subwords that overlap it.

    A token that none overlaps takes the nearest one, of two the first. Subwords without characters,
    such as begin and end marks, overlap nothing; they serve only where there are no others.

    Args:
        spans: start and end of each token, in characters of the text.
        offsets: the same of each subword; at least one.

    Returns:
        float32 ``[tokens, subwords]``; each row sums to 1.
    """
    starts, ends = _columns(spans)
    firsts, lasts = _columns(offsets)
    solid = firsts < lasts
    shared = (firsts < ends[:, None]) & (lasts > starts[:, None]) & solid
    lonely = np.flatnonzero(~shared.any(axis=1))
    if len(lonely):
        before, after = starts[lonely, None] - lasts, firsts - ends[lonely, None]
        distances = np.maximum(np.maximum(before, after), 0)
        distances[:, ~solid] = np.iinfo(np.int64).max
        shared[lonely, distances.argmin(axis=1)] = True
    weights = shared.astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def places(weights: npt.NDArray[np.float32], most: int) -> npt.NDArray[np.int64]:
    """How many tokens before each one begin in the same subword, at most ``most``.

    One subword of Thai may hold several of our tokens, whose means are then the same.

    Args:
        weights: of :func:`align`.
        most: the largest number that is told apart.

    Returns:
        int64 ``[tokens]``.
    """
    seen: Counter[int] = Counter()
    out = np.zeros(len(weights), np.int64)
    for token, first in enumerate((weights > 0).argmax(axis=1).tolist()):
        out[token] = min(seen[first], most)
        seen[first] += 1
    return out


def _columns(pairs: Sequence[Span]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    both = np.array(pairs, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]
