"""Pictures of a run: curves over its steps, and which names are taken for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._optional import require


def _pyplot() -> Any:
    matplotlib = require("matplotlib", extra="train")
    matplotlib.use("Agg")
    return require("matplotlib.pyplot", extra="train")


def draw_curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Every figure of the last row against ``step``, one below the other."""
    names = [name for name in (rows[-1] if rows else {}) if name not in ("step", "seconds")]
    if not names:
        return
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(
        len(names), 1, sharex=True, figsize=(6, 2.2 * len(names)), squeeze=False
    )
    for axis, name in zip(axes[:, 0], names, strict=True):
        axis.plot([r["step"] for r in rows if name in r], [r[name] for r in rows if name in r])
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
    axes[-1, 0].set_xlabel("step")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def most_confused(
    gold: Sequence[str], predicted: Sequence[str], most: int = 40
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The names with the most errors on either side, sorted, and how often which became which.

    Args:
        gold, predicted: ``n`` names each.
        most: how many names to keep.

    Returns:
        At most ``most`` names, and int64 counts ``[names, names]``: rows are gold. Pairs with a
        name that is left out are left out too.
    """
    pairs = Counter(zip(gold, predicted, strict=True))
    errors: Counter[str] = Counter()
    for (wanted, given), number in pairs.items():
        for name in (wanted, given):
            errors[name] += number if wanted != given else 0
    ranked = sorted(errors, key=lambda name: (-errors[name], name))
    names = sorted(ranked[:most])
    place = {name: index for index, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    for (wanted, given), number in pairs.items():
        if wanted in place and given in place:
            counts[place[wanted], place[given]] = number
    return names, counts


def draw_confusion(gold: Sequence[str], predicted: Sequence[str], path: Path) -> None:
    """The matrix of :func:`most_confused`, each row in shares of its gold count."""
    names, counts = most_confused(gold, predicted)
    if not names:
        return
    pyplot = _pyplot()
    size = 3 + 0.25 * len(names)
    figure, axis = pyplot.subplots(figsize=(size, size))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    for row, column in zip(*np.nonzero(counts), strict=True):
        dark = shares[row, column] > 0.6
        axis.text(
            column, row, str(counts[row, column]), ha="center", va="center", fontsize=6,
            color="white" if dark else "black",
        )  # fmt: skip
    axis.set_xlabel("predicted")
    axis.set_ylabel("gold")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
