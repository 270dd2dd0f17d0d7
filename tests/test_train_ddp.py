"""Two processes that share each batch get to where one with the doubled batch gets."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="pqrnn_native.train needs torch")
pytest.importorskip("tqdm", reason="the run folder's progress bar needs tqdm")
pytest.importorskip("matplotlib", reason="the run folder's curves need matplotlib")
if not torch.distributed.is_available():
    pytest.skip("this torch has no torch.distributed", allow_module_level=True)

# Without what is random within a process, all that is left of a difference is rounding.
PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from invented import commands
from pqrnn_native.train import TrainSettings, fit

fit(
    commands(90), commands(20, seed=1), out=sys.argv[1], task=sys.argv[3],
    config={{"bottleneck_size": 16, "state_size": 8, "num_layers": 2,
            "projection": {{"feature_size": 64}}}},
    settings=TrainSettings(
        epochs=4, batch_size=int(sys.argv[2]), learning_rate=3e-3, evaluate_every=10, threads=1,
        dropout=0, token_dropout=0, distortion=0.1, bfloat16=False,
    ),
    progress=False,
)
"""


def environment(**values: str) -> dict[str, str]:
    path = os.pathsep.join(p for p in sys.path if p)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **values}


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


# A program each: a second group of processes would look for the first one's closing port.
@pytest.mark.parametrize("task", ["parse", "tag"])
def test_two_processes_equal_one_with_the_doubled_batch(task: str, tmp_path: Path) -> None:
    program = PROGRAM.format(tests=str(Path(__file__).parent))
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "one"), "16", task],
        env=environment(), check=True, timeout=600,
    )  # fmt: skip
    port = free_port()
    workers = []
    for rank in range(2):
        ranked = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, "-c", program, str(tmp_path / "two"), "8", task]
        workers.append(subprocess.Popen(command, env=environment(**ranked, **address)))
    try:
        assert [worker.wait(timeout=600) for worker in workers] == [0, 0]
    finally:
        for worker in workers:  # one that waits for another that failed
            worker.kill()
    folders = tmp_path / "one", tmp_path / "two"
    one, two = (torch.load(folder / "best.pt", weights_only=True) for folder in folders)
    assert one["row"]["step"] == two["row"]["step"]
    for name, value in one["average"].items():
        if name != "encoder.attention.bias":  # softmax makes its gradient nothing but rounding
            torch.testing.assert_close(two["average"][name], value, rtol=1e-4, atol=1e-5, msg=name)
    logs = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in folders
    ]
    assert [len(log) for log in logs] == [3, 3]
    for row, other in zip(*logs, strict=True):
        for name in row.keys() - {"seconds", "tokens_per_second"}:
            assert other[name] == pytest.approx(row[name], abs=1e-3)
