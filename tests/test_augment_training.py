"""Augmentations in training runs: repeatable, resumable, and on the command line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pqrnn_native.train needs torch")
pytest.importorskip("tqdm", reason="the run folder's progress bar needs tqdm")
pytest.importorskip("matplotlib", reason="the run folder's curves need matplotlib")

from invented import commands, labelled

from pqrnn_native.cli import main
from pqrnn_native.train import Example, TrainSettings, fit, supervised
from pqrnn_native.train.augment import Augment, Paraphrases

SETTINGS = TrainSettings(
    epochs=4, batch_size=8, learning_rate=5e-3, evaluate_every=9, threads=1, token_dropout=0.1,
    parallel=0.3, recombine=0.3, slot_exchange=0.3,
)  # fmt: skip
CONFIG = {"bottleneck_size": 8, "state_size": 4, "projection": {"feature_size": 32}}
SMALL = (
    "--feature-size 32 --bottleneck-size 8 --state-size 4 --num-layers 1 --batch-size 16 "
    "--learning-rate 0.02 --epochs 1 --threads 1"
).split()


def both_languages() -> list[Example]:
    """24 rows in "en", and the same in "xx", where the words are reversed."""
    pairs = zip(commands(24), commands(24, languages=("xx",)), strict=True)
    return [
        dataclasses.replace(row, id=str(number))
        for number, pair in enumerate(pairs)
        for row in pair
    ]


def now(example: Example, rng: np.random.Generator) -> Example:
    if rng.random() < 0.5:
        return example
    return dataclasses.replace(example, text=example.text + " now")


def train(
    out: Path, settings: TrainSettings = SETTINGS, augment: tuple[Augment, ...] | None = None
) -> bytes:
    if augment is None:
        rows = both_languages()
        augment = (Paraphrases({rows[0].text: [rows[0]]}), now)
    result = fit(
        both_languages(), commands(8, seed=1), out=out, config=CONFIG, settings=settings,
        augment=augment, progress=False, pictures=False,
    )  # fmt: skip
    return result.path.read_bytes()


def loss(run: Path) -> float:
    return json.loads((run / "log.jsonl").read_text().splitlines()[-1])["slot_loss"]


def test_runs_are_repeatable_and_depend_on_every_augmentation(tmp_path: Path) -> None:
    assert train(tmp_path / "whole") == train(tmp_path / "again")
    losses = [loss(tmp_path / "whole")]
    for name in ("parallel", "recombine", "slot_exchange"):
        train(tmp_path / name, dataclasses.replace(SETTINGS, **{name: 0.0}))
        losses.append(loss(tmp_path / name))
    for number, augment in enumerate([(), (now,)]):
        train(tmp_path / str(number), augment=augment)
        losses.append(loss(tmp_path / str(number)))
    assert len(set(losses)) == 6


def test_a_cut_run_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tmp_path / "whole")
    step = supervised.train_step

    def cut(learner, data, rows, at, processes):  # type: ignore[no-untyped-def]
        if at == 13:  # after the checkpoint of step 9
            raise KeyboardInterrupt
        return step(learner, data, rows, at, processes)

    with monkeypatch.context() as patch:
        patch.setattr(supervised, "train_step", cut)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cut")
    assert torch.load(tmp_path / "cut/checkpoint.pt", weights_only=True)["step"] == 9
    with pytest.raises(ValueError, match="made with another augment"):
        train(tmp_path / "cut", augment=(now,))
    assert train(tmp_path / "cut") == whole


def test_the_folder_says_what_was_done_and_to_how_many(tmp_path: Path) -> None:
    said: list[str] = []
    rows = both_languages()
    fit(
        rows, rows[:8], out=tmp_path / "run", config=CONFIG, settings=SETTINGS, pictures=False,
        augment=[Paraphrases({rows[0].text: [rows[0]]}, 0.25), now], progress=False,
        say=said.append,
    )  # fmt: skip
    alike = sum(row.text == rows[0].text for row in rows)
    reached = [line for line in said if " reaches " in line]
    assert reached[:2] == [
        "ParallelRows reaches 48 of 48 rows", f"Paraphrases reaches {alike} of 48 rows"
    ]  # fmt: skip
    assert [line.split()[0] for line in reached[2:]] == ["TemplateRecombination", "SlotExchange"]
    found = json.loads((tmp_path / "run/config.json").read_text())
    assert [each["name"] for each in found["augment"]] == ["Paraphrases", "now"]
    assert found["augment"][0]["share"] == 0.25
    assert found["settings"]["recombine"] == 0.3


def test_a_classifier_learns_from_paraphrases_alone(tmp_path: Path) -> None:
    """The labels of the texts themselves are the wrong way round; they are never shown."""
    rows = [Example("aa", labels=("x",)), Example("bb", labels=("y",))] * 16
    dev = [Example("aa", labels=("y",)), Example("bb", labels=("x",))]
    settings = TrainSettings(epochs=30, batch_size=8, learning_rate=0.02, threads=1, ema=0.9)
    result = fit(
        rows, dev, out=tmp_path / "run", config=CONFIG, settings=settings, pictures=False,
        augment=[Paraphrases({"aa": ["bb"], "bb": ["aa"]}, share=1)], progress=False,
    )  # fmt: skip
    assert result.dev.overall.scores["accuracy"].value == 1


# --- Command line


def write(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return f"jsonl:{path}"


def test_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = both_languages()
    data = write(
        tmp_path / "rows.jsonl",
        [
            {"text": r.text, "intent": r.intent, "slots": r.slots, "language": r.language}
            | {"id": int(r.id)}
            for r in rows
        ],
    )
    of = {"of": rows[0].text, "text": "do " + rows[0].text}
    slots = [(start + 3, end + 3, label) for start, end, label in rows[0].slots]
    file = write(tmp_path / "other.jsonl", [{**of, "slots": slots}, {"of": "x"}])
    arguments = [
        "train", "--train", data, "--dev", data, "--out", str(tmp_path / "run"), *SMALL,
        "--parallel", "0.5", "--recombine", "0.25", "--slot-exchange", "1", "--paraphrases", file,
    ]  # fmt: skip
    assert main([*arguments, "--paraphrase-share", "0.75"]) == 0
    error = capsys.readouterr().err
    assert "other.jsonl, line 2: text must be a str" in error
    assert "ParallelRows reaches 48 of 48 rows" in error
    found = json.loads((tmp_path / "run/config.json").read_text())
    settings = found["settings"]
    assert [settings[k] for k in ("parallel", "recombine", "slot_exchange")] == [0.5, 0.25, 1]
    assert [(each["name"], each["share"]) for each in found["augment"]] == [("Paraphrases", 0.75)]
    assert main(arguments) == 2
    assert "made with another augment" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--recombine", "1.5"], "recombine must be in [0, 1], got 1.5"),
        (["--parallel", "-0.1"], "parallel must be in [0, 1], got -0.1"),
        (["--slot-exchange", "nan"], "slot_exchange must be in [0, 1], got nan"),
        (["--paraphrases", "jsonl:absent"], "'jsonl:absent': no such file"),
        (["--paraphrases", "rows.csv"], "named as one of jsonl:PATH, got 'rows.csv'"),
        (["--paraphrases", "jsonl:other", "--paraphrase-share", "2"], "share must be in [0, 1]"),
        (["--paraphrase-share", "0.5"], "--paraphrase-share needs --paraphrases, got 0.5 alone"),
    ],
)
def test_bad_options(
    options: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{row.text},{row.labels[0]}\n" for row in labelled(20)]
    Path("rows.csv").write_text("text,label\n" + "".join(rows))
    write(Path("other"), [{"of": "a", "text": "b"}])
    assert main(["train", "--train", "csv:rows.csv", "--out", "run", *options]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not Path("run").exists()
