"""A training run on disk: settings, log, checkpoint, best model, curves, progress bar."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from .._optional import require
from ..checkpoint import write_whole
from .plots import draw_confusion, draw_curves


class Bar:
    """A progress bar that knows the state rather than the increment."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def at(self, done: int, total: int | None = None, **values: float) -> None:
        """Show ``done`` of ``total``, and figures beside it."""
        if total is not None and self._bar.total != total:
            self._bar.total = total
            self._bar.initial = self._bar.n = done  # a resumed run starts its clock here
            self._bar.refresh()
        if values:
            self._bar.set_postfix({k: f"{v:.4g}" for k, v in values.items()}, refresh=False)
        self._bar.update(done - self._bar.n)


@contextmanager
def progress_bar(
    title: str, *, unit: str, show: bool | None, total: int | None = None
) -> Iterator[Bar]:
    """A tqdm bar; ``show=None`` shows it on a terminal only."""
    tqdm = require("tqdm", extra="train").tqdm
    hidden = not (sys.stderr.isatty() if show is None else show)
    with tqdm(total=total, desc=title, unit=unit, disable=hidden, mininterval=0.5) as bar:
        yield Bar(bar)


class RunFolder:
    """The folder of one run.

    Args:
        path: made when absent.
        description: JSON-able facts that define the run; a folder made with other facts is refused.

    Raises:
        ValueError: the folder holds a run of another description.
    """

    def __init__(self, path: str | Path, description: dict[str, Any]) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.description: dict[str, Any] = json.loads(json.dumps(description))
        self.model_path = self.path / "model.safetensors"
        self._started = self._saved = time.monotonic()
        self._best: float | None = None
        self._earlier_seconds = 0.0
        stored = self.path / "config.json"
        if stored.exists():
            found = json.loads(stored.read_text("utf-8"))
            changed = [k for k in self.description if found.get(k) != self.description[k]]
            if changed:
                raise ValueError(
                    f"run folder {str(self.path)!r} was made with another {', '.join(changed)}; "
                    "choose a new folder or delete it"
                )
        else:
            write_whole(stored, [json.dumps(self.description, indent=1).encode()])

    def seconds(self) -> float:
        """Training time so far, resumed parts included."""
        return self._earlier_seconds + time.monotonic() - self._started

    def log(self, row: dict[str, Any]) -> None:
        with open(self.path / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """The log so far. A step that was logged twice, before and after a cut, counts once."""
        path = self.path / "log.jsonl"
        if not path.exists():
            return []
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]
        return list({row["step"]: row for row in rows}.values())

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace ``checkpoint.pt``; a kill at any moment leaves the old or the new one whole."""
        self.save_state("checkpoint.pt", {**state, "best": self._best, "seconds": self.seconds()})
        self._saved = time.monotonic()

    def seconds_unsaved(self) -> float:
        """Since the last checkpoint of this process, or its start."""
        return time.monotonic() - self._saved

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint, or None; the best score and the clock go on from it."""
        state = self.load_state("checkpoint.pt")
        if state is not None:
            self._best, self._earlier_seconds = state["best"], state["seconds"]
        return state

    def save_state(self, name: str, state: dict[str, Any]) -> None:
        """Write a file of tensors and plain values under a temporary name, then rename it."""
        path = self.path / name
        temporary = path.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, path)

    def load_state(self, name: str) -> dict[str, Any] | None:
        """What :meth:`save_state` wrote, on the CPU, or None."""
        path = self.path / name
        if not path.exists():
            return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state

    def keep_best(self, score: float, save: Callable[[Path], None]) -> bool:
        """Save the model when ``score`` is the highest so far; returns whether it is."""
        if self._best is not None and not score > self._best:
            return False
        save(self.model_path)
        self._best = score
        return True

    def best_shown(self) -> dict[str, float]:
        return {} if self._best is None else {"best": self._best}

    def draw_curves(self) -> None:
        """Write ``curve.png``: every logged figure against the step."""
        draw_curves(self.rows(), self.path / "curve.png")

    def draw_confusion(self, gold: Sequence[str], predicted: Sequence[str]) -> None:
        """Write ``confusion.png``: which names are taken for which."""
        draw_confusion(gold, predicted, self.path / "confusion.png")
