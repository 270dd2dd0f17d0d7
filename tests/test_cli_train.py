"""The commands train, evaluate and predict."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="train needs the train extra")
pytest.importorskip("tqdm", reason="the run folder's progress bar needs tqdm")
pytest.importorskip("matplotlib", reason="the run folder's curves need matplotlib")

from invented import commands, labelled

from pqrnn_native.cli import main
from pqrnn_native.train import Example

SMALL = (
    "--feature-size 96 --bottleneck-size 24 --state-size 12 --num-layers 2 --batch-size 16 "
    "--learning-rate 0.02 --epochs 12 --ema 0.9 --dropout 0.05 --threads 1"
).split()


def write_mtop(folder: Path, split: str, examples: list[Example]) -> None:
    for language in ("en", "xx"):
        (folder / language).mkdir(parents=True, exist_ok=True)
        rows = [
            {"utterance": e.text, "intent": e.intent, "slots": e.slots}
            for e in examples
            if e.language == language
        ]
        lines = [json.dumps(row) for row in rows]
        (folder / language / f"{split}.spans.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def test_train_evaluate_and_predict_a_parser(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = ("en", "xx")
    write_mtop(tmp_path / "mtop", "train", commands(240, languages=both))
    write_mtop(tmp_path / "mtop", "eval", commands(40, seed=1, languages=both))
    write_mtop(tmp_path / "mtop", "test", commands(40, seed=2, languages=both))
    with open(tmp_path / "mtop/en/train.spans.jsonl", "a") as file:
        file.write("not json\n")
    data, out = f"mtop:{tmp_path / 'mtop'}", str(tmp_path / "run")
    assert main(["train", "--train", data, "--out", out, "--task", "parse", *SMALL]) == 0
    table, said = capsys.readouterr()
    assert "exact match" in table
    assert table.splitlines()[-1] == str(tmp_path / "run/model.safetensors")
    assert "line 121: not JSON" in said
    assert "240 rows" in said
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["config"]["state_size"] == 12
    assert config["dev"]["rows"] == 40  # the data set's own dev split

    arguments = ["evaluate", "--model", out, "--data", data, "--split", "test", "--json"]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["overall"]["examples"] == 40
    assert report["average"]["exact_match"]["value"] > 0.8
    assert main([*arguments[:-1], "--languages", "xx"]) == 0
    assert "all" in capsys.readouterr().out

    text = "stop the radio in the hall"
    (tmp_path / "texts.txt").write_text(f"{text}\n\n", "utf-8")
    assert main(["predict", "--model", out, str(tmp_path / "texts.txt")]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["text"], first["intent"]) == (text, "IN:OFF")
    assert first["slots"] == [
        {"start": 9, "end": 14, "label": "SL:THING", "text": "radio"},
        {"start": 22, "end": 26, "label": "SL:PLACE", "text": "hall"},
    ]
    assert 0 < first["score"] <= 1
    assert (second["text"], second["slots"]) == ("", [])
    stdin = io.TextIOWrapper(io.BytesIO(f"{text}\n".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["predict", "--model", str(tmp_path / "run/model.safetensors")]) == 0
    assert json.loads(capsys.readouterr().out) == first


def test_train_and_predict_a_classifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["text,label", *(f"{e.text},{e.labels[0]}" for e in labelled(200))]
    (tmp_path / "rows.csv").write_text("\n".join(rows) + "\n")
    data, out = f"csv:{tmp_path / 'rows.csv'}", str(tmp_path / "run")
    assert main(["train", "--train", data, "--out", out, *SMALL]) == 0
    assert json.loads((tmp_path / "run/config.json").read_text())["dev"]["rows"] == 20
    capsys.readouterr()
    assert main(["evaluate", "--model", out, "--data", data]) == 0
    assert "accuracy" in capsys.readouterr().out
    (tmp_path / "texts.txt").write_text("bring radio now\n")
    assert main(["predict", "--model", out, str(tmp_path / "texts.txt")]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["label"] == "radio"
    assert set(row["scores"]) == {"lamp", "radio", "heater", "window"}
    assert row["scores"]["radio"] == max(row["scores"].values())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "--train", "mtop:absent", "--out", "run"], "absent"),
        (["train", "--train", "sing:x", "--out", "run"], "got 'sing:x'"),
        (["train", "--train", "csv:rows.csv", "--out", "run", "--task", "parse"], "classify"),
        (["train", "--train", "csv:rows.csv", "--out", "run", "--ema", "1"], "ema must be in"),
        (["train", "--train", "csv:rows.csv", "--out", "run", "--skip", "--kernel-size", "0"],
         "kernel_size must be in"),
        (["train", "--train", "csv:rows.csv", "--out", "run", "--features", "word"],
         "features must be 'projection' for model 'pqrnn'"),
        (["evaluate", "--model", "absent", "--data", "csv:rows.csv"], "absent"),
        (["evaluate", "--model", "default", "--data", "csv:rows.csv"], "not a parser or class"),
        (["predict", "--model", "default"], "not a parser or classifier"),
    ],
)  # fmt: skip
def test_errors_are_one_sentence_and_exit_code_2(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("text,label\n" + "good,yes\nbad,no\n" * 10)
    assert main(arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
