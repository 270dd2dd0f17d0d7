"""The command line: results, one-sentence errors, exit codes, pipes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import twin

import pqrnn_native as pq
from pqrnn_native.cli import main

TEXTS = ["turn on the lights", "", "what's the weather?", "naïve café"]


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "pqrnn_native", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)


def test_encode_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.npy"
    source.write_text("\n".join(TEXTS) + "\n", "utf-8")
    assert main(["encode", str(source), "-o", str(out), "--threads", "1"]) == 0
    np.testing.assert_array_equal(np.load(out), pq.encode(TEXTS))
    assert capsys.readouterr() == ("", "")  # quiet where no terminal is
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.txt", "out.npy"]
    assert main(["encode", str(source), "-o", str(out), "--no-normalize"]) == 0
    expected = pq.load("default").encode(TEXTS, normalize=False)
    np.testing.assert_array_equal(np.load(out), expected)


def test_encode_json_lines_and_pipes() -> None:
    lines = "".join(json.dumps({"body": text, "n": 1}) + "\n" for text in TEXTS)
    done = run("encode", "-", "-o", "-", "--field", "body", stdin=lines.encode())
    assert (done.returncode, done.stderr) == (0, b"")
    np.testing.assert_array_equal(np.load(io.BytesIO(done.stdout)), pq.encode(TEXTS))


def test_an_empty_file_gives_no_rows(tmp_path: Path) -> None:
    (tmp_path / "in.txt").touch()
    assert main(["encode", str(tmp_path / "in.txt"), "-o", str(tmp_path / "out.npy")]) == 0
    assert np.load(tmp_path / "out.npy").shape == (0, pq.load("default").dim)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["encode", "absent.txt", "-o", "x.npy"], "No such file or directory: 'absent.txt'"),
        (["encode", "in.jsonl", "-o", "x.npy", "--field", "b"], "line 2 has no JSON field 'b'"),
        (["encode", "in.jsonl", "-o", "x.npy", "--field", "n"], "field 'n' is 1, not a string"),
        (["encode", "in.jsonl", "-o", "no/x.npy"], "folder 'no' of --output does not exist"),
        (["encode", "in.jsonl", "-o", "x.npy", "--model", "absent"], "absent"),
        (["encode", "in.jsonl", "-o", "x.npy", "--model", "in.jsonl"], "in.jsonl"),
        (["encode", "in.jsonl", "-o", "x.npy", "--threads", "-2"], "threads"),
        (["encode", "in.jsonl"], "required: -o/--output"),
        (["info", "absent"], "absent"),
        (["bench", "--seconds", "0"], "--seconds must be positive, got 0"),
        (["fly"], "invalid choice: 'fly'"),
        ([], "required: COMMAND"),
    ],
)
def test_errors_are_one_sentence_and_exit_code_2(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text('{"n": 1, "b": "x"}\n{"n": 2}\n')
    assert main(arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert sentence in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*.npy"))


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    encoder = pq.load("default")
    assert facts["class"] == "Encoder"
    assert facts["config"]["output_size"] == encoder.dim
    assert facts["isa"] in facts["available_isas"]
    assert main(["info"]) == 0
    assert "file_bytes" in capsys.readouterr().out


def test_bench(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--seconds", "0.01", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert all(value > 0 for value in facts.values() if not isinstance(value, str))


@pytest.mark.parametrize(
    "task",
    [{"task": "parsing", "intents": ("a",), "slots": ("O", "B-x")},
     {"task": "classification", "labels": ("no", "yes")}],
)  # fmt: skip
def test_bench_of_a_model_with_labels(
    task: dict[str, Any],
    tmp_path: Path,
    rng: np.random.Generator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = pq.PQRNNConfig(
        bottleneck_size=8, state_size=8, num_layers=1,
        projection=pq.ProjectionConfig(feature_size=32), **task,
    )  # fmt: skip
    path, _ = twin.random_model(config, rng, tmp_path)
    assert main(["bench", "--model", str(path), "--seconds", "0.01", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["batch of 256, sentences per second"] > 0


def test_distill_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="distill needs the train extra")
    assert main(["distill", "--text", f"text:{tmp_path}/no", "--out", str(tmp_path / "r")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["distill", "--text", "x", "--out", "r", "--learning-rate", "-1"]) == 2
    assert "learning_rate must be positive, got -1.0" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == pq.__version__
