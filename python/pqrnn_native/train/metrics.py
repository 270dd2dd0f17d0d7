"""Metrics of sentence vectors."""

from __future__ import annotations

import numpy as np


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties sharing the mean of their ranks: float64 ``[n]``."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ends = np.r_[starts[1:], len(values)]
    ranks = np.empty(len(values), dtype=np.float64)
    ranks[order] = np.repeat((starts + 1 + ends) / 2, ends - starts)
    return ranks


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman rank correlation with average ranks for ties (as in SemEval STS).

    Args:
        first, second: ``[n]``, n >= 2.

    Returns:
        A value in [-1, 1]; NaN when one side is constant.
    """
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise ValueError(
            f"spearman needs two vectors of equal length >= 2, got {first.shape}, {second.shape}"
        )
    a, b = average_ranks(first), average_ranks(second)
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else float("nan")


def cosine_rows(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of each row pair: float64 ``[n]``; 0 where a row is zero."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.einsum("ij,ij->i", a, b) / np.where(norm > 0, norm, 1.0)
