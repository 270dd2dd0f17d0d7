"""A run that was killed goes on as if it had not been: the same weights, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="pqrnn_native.train needs torch")
pytest.importorskip("tqdm", reason="the run folder's progress bar needs tqdm")
pytest.importorskip("matplotlib", reason="the run folder's curves need matplotlib")

from invented import commands

from pqrnn_native.train import TrainSettings, fit, supervised

SETTINGS = TrainSettings(
    epochs=40, batch_size=8, learning_rate=5e-3, evaluate_every=13, threads=1, dropout=0.2,
    token_dropout=0.1, distortion=0.1,
)  # fmt: skip
CONFIG = {
    "bottleneck_size": 16, "state_size": 8, "num_layers": 2, "zoneout": 0.2,
    "projection": {"feature_size": 64},
}  # fmt: skip


def train(out: Path) -> Path:
    return fit(
        commands(64), commands(20, seed=1), out=out, config=CONFIG, settings=SETTINGS,
        progress=False,
    ).path  # fmt: skip


def final_weights(out: Path) -> dict[str, torch.Tensor]:
    learner = torch.load(out / "checkpoint.pt", weights_only=True)["learner"]
    tensors = {f"{kind}.{k}": v for kind in ("model", "average") for k, v in learner[kind].items()}
    for number, state in learner["optimizer"]["state"].items():
        tensors |= {f"optimizer.{number}.{k}": v for k, v in state.items()}
    return tensors


def test_kill_minus_nine(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    out = tmp_path / "cut"
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    program = (
        "import sys; from pathlib import Path; import test_train_resume as test;"
        "test.train(Path(sys.argv[1]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(out)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    log = out / "log.jsonl"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists() and log.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.001)
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()
    killed_at = json.loads(log.read_text().splitlines()[-1])["step"]
    assert killed_at < 320  # it was killed, it did not end
    resumed = train(out)
    assert resumed.read_bytes() == whole.read_bytes()
    first, second = final_weights(tmp_path / "whole"), final_weights(out)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(torch.as_tensor(second[name]), torch.as_tensor(value)), name


# Cut after the checkpoint of step 26, before that of step 39; and with one after each step.
@pytest.mark.parametrize(("seconds", "saved"), [(1e9, 26), (0.0, 30)])
def test_a_run_cut_between_evaluations_goes_on_from_the_last_checkpoint(
    seconds: float, saved: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised, "_CHECKPOINT_SECONDS", seconds)
    whole = train(tmp_path / "whole")
    step = supervised.train_step

    def cut(learner, data, rows, at, processes):  # type: ignore[no-untyped-def]
        if at == 30:
            raise KeyboardInterrupt
        return step(learner, data, rows, at, processes)

    with monkeypatch.context() as patch:
        patch.setattr(supervised, "train_step", cut)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cut")
    assert torch.load(tmp_path / "cut/checkpoint.pt", weights_only=True)["step"] == saved
    assert train(tmp_path / "cut").read_bytes() == whole.read_bytes()
    rows = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "cut")
    ]
    for row, other in zip(*rows, strict=True):
        for clock in ("seconds", "tokens_per_second"):
            del row[clock], other[clock]
        assert row == other
