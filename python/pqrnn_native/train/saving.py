"""What a run leaves behind besides its log: the best weights and the final report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..checkpoint import StorageType, save_model, write_whole
from ..config import PQRNNConfig
from .learner import Learner
from .metrics import Report
from .processes import Processes
from .readers import Examples
from .run_folder import RunFolder


def make_folder(out: str | Path, description: dict[str, Any], processes: Processes) -> RunFolder:
    """The run folder, which the first process makes before the others look at it."""
    if processes.first:
        RunFolder(out, description)
    processes.wait()
    return RunFolder(out, description)


def storage_of(config: PQRNNConfig, dtype: StorageType) -> StorageType:
    """How a model's weights are stored: in 8 bits where it computes in them, else as asked for.

    Raises:
        ValueError: Fewer bits are asked for, of which the training in 8 bits has seen nothing.
    """
    if config.precision != "int8":
        return dtype
    if dtype in ("int4", "int2"):
        raise ValueError(f"dtype must not be {dtype!r} where config.precision is 'int8'")
    return "int8"


class BestModel:
    """The best averaged weights: ``best.pt`` for the graph, ``model.safetensors`` for inference.

    Nothing in them tells when or how fast they were made, so that the same run gives the same file.

    Args:
        run: where they go.
        config: of the model.
        dtype: storage in ``model.safetensors``.
    """

    def __init__(self, run: RunFolder, config: PQRNNConfig, dtype: StorageType) -> None:
        self._run, self._config, self._dtype = run, config, dtype

    def save(self, learner: Learner, figures: Mapping[str, Any]) -> None:
        """Save the learner's average, with its row of the log."""
        average = learner.averaged.average
        self._run.save_state("best.pt", {"average": average.state_dict(), "row": dict(figures)})
        if self.path(learner) != self._run.model_path:
            return
        info = {"run": self._run.description, "result": dict(figures)}
        save_model(self._run.model_path, self._config, average.export_tensors(), info, self._dtype)

    def path(self, learner: Learner) -> Path:
        """The file that a user wants."""
        exported = hasattr(learner.averaged.average, "export_tensors")
        return self._run.model_path if exported else self._run.path / "best.pt"

    def load(self, learner: Learner) -> dict[str, Any]:
        """Put the best weights into the learner's average; returns their row of the log."""
        state = self._run.load_state("best.pt")
        assert state is not None
        learner.averaged.average.load_state_dict(state["average"])
        row: dict[str, Any] = state["row"]
        return row


def write_report(
    run: RunFolder,
    best: Mapping[str, Any],
    parameters: int,
    train: Examples,
    dev: Report,
    test: Report | None,
) -> None:
    """Write ``report.json``: the best model's metrics, size and step, and the skipped rows."""
    facts = {
        "best": best,
        "seconds": round(run.seconds(), 1),
        "parameters": parameters,
        "skipped": [str(skipped) for skipped in train.skipped],
        "dev": dev.to_dict(),
        "test": None if test is None else test.to_dict(),
    }
    write_whole(run.path / "report.json", [json.dumps(facts, indent=1).encode()])
