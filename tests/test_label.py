"""Labelling with teachers: probabilities, their mean, confident rows, and the commands."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pqrnn_native.train needs torch")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")
pytest.importorskip("tqdm", reason="the run folder's progress bar needs tqdm")

import twin
from invented import commands, labelled
from tiny_encoder import bert, words_tokenizer, write_encoder

import pqrnn_native as pq
from pqrnn_native.cli import main
from pqrnn_native.cli.label import _further
from pqrnn_native.tags import TagSet
from pqrnn_native.train import default_config, fit, read_examples
from pqrnn_native.train.crf import crf_marginals
from pqrnn_native.train.soft_labels import SoftLabels
from pqrnn_native.train.teaching import (
    Ensemble,
    FineTunedTeacher,
    ModelTeacher,
    Prediction,
    fine_tune,
    label,
    load_label_teacher,
)
from pqrnn_native.train.teaching.folder import describe, save_folder
from pqrnn_native.train.teaching.model import TeacherModel

TEXTS = [row.text for row in commands(20)]
SLOTS = ("O", "B-x", "I-x", "B-y", "I-y")
SMALL: dict[str, Any] = {
    "bottleneck_size": 24, "state_size": 12, "num_layers": 1, "projection": {"feature_size": 96},
}  # fmt: skip


class Scripted:
    """A teacher that says what it is told to."""

    def __init__(self, said: dict[str, tuple[Any, Any]], name: str = "scripted", **names: Any):
        self.said, self.name = said, name
        self.config = default_config("classify" if "labels" in names else "parse", **names)

    def __call__(self, texts: Sequence[str]) -> list[Prediction]:
        return [Prediction(*map(np.asarray, self.said[text])) for text in texts]


def random_teacher(folder: Path, task: Any, seed: int, **names: Any) -> FineTunedTeacher:
    tokenizer = words_tokenizer(TEXTS)
    config = default_config(task, crf=False, **names)
    model = TeacherModel(bert(len(tokenizer), seed), config)
    save_folder(folder, model, tokenizer, describe(task, config, 32), {})
    return FineTunedTeacher(folder, device="cpu", batch_size=8)


def softmax(logits: Sequence[float]) -> list[float]:
    total = math.fsum(math.exp(x) for x in logits)
    return [math.exp(x) / total for x in logits]


def test_soft_labels_are_the_softmax_of_the_logits(tmp_path: Path) -> None:
    teacher = random_teacher(tmp_path, "parse", 0, intents=("a", "b", "c"), slots=SLOTS)
    found = teacher(TEXTS)
    soft = label([teacher], TEXTS, progress=False).soft
    assert len(soft) == len(set(TEXTS))
    lengths = np.array([len(said.tags) for said in found])
    targets = soft.targets(TEXTS, lengths, teacher.config)
    ends = np.cumsum(lengths)
    seen = set()
    for rows, logits, offsets in teacher.predictor.predict(TEXTS):
        for at, row in enumerate(rows.tolist()):
            seen.add(row)
            expected = softmax(logits.sentence[at].tolist())
            np.testing.assert_allclose(found[row].sentence, expected, rtol=1e-12)
            np.testing.assert_allclose(targets.sentence[row], expected, atol=1e-3)
            own = logits.tags[offsets[at] : offsets[at + 1]].tolist()
            expected = [softmax(token) for token in own]
            np.testing.assert_allclose(found[row].tags, expected, rtol=1e-12)
            kept = targets.tags[ends[row] - lengths[row] : ends[row]]
            np.testing.assert_allclose(kept, expected, atol=1e-3)
    assert seen == set(range(len(TEXTS)))


def test_labels_by_themselves_are_logistic(tmp_path: Path) -> None:
    teacher = random_teacher(tmp_path, "classify", 0, labels=("a", "b", "c"), multi_label=True)
    found = teacher(TEXTS)
    for rows, logits, _ in teacher.predictor.predict(TEXTS):
        for row, own in zip(rows.tolist(), logits.sentence.tolist(), strict=True):
            expected = [1 / (1 + math.exp(-x)) for x in own]
            np.testing.assert_allclose(found[row].sentence, expected, rtol=1e-12)
    assert label([teacher], TEXTS, progress=False).soft.multi_label


def test_the_mean_of_two(tmp_path: Path) -> None:
    """The second has the intents in another order, and lacks a tag."""
    one = random_teacher(tmp_path / "one", "parse", 1, intents=("a", "b"), slots=SLOTS)
    two = random_teacher(tmp_path / "two", "parse", 2, intents=("b", "a"), slots=SLOTS[:4])
    both = Ensemble([one, two])
    assert (both.names, both.slots, both.task) == (("a", "b"), SLOTS, "parse")
    for mean, first, second in zip(both(TEXTS), one(TEXTS), two(TEXTS), strict=True):
        np.testing.assert_allclose(mean.sentence, (first.sentence + second.sentence[::-1]) / 2)
        np.testing.assert_allclose(mean.tags[:, :4], (first.tags[:, :4] + second.tags) / 2)
        np.testing.assert_allclose(mean.tags[:, 4], first.tags[:, 4] / 2)
        np.testing.assert_allclose(mean.tags.sum(1), 1)


@pytest.mark.parametrize("crf", [False, True])
def test_our_own_parsers_are_teachers(crf: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    config = default_config(
        "parse", intents=("a", "b"), slots=SLOTS, **SMALL, crf=crf, slot_context=False
    )
    path, _ = twin.random_model(config, rng, tmp_path)
    parser = pq.load(path)
    assert isinstance(parser, pq.Parser)
    found = ModelTeacher(path, threads=1)(TEXTS)
    for text, said in zip(TEXTS, found, strict=True):
        logits = parser.logits(text)
        np.testing.assert_allclose(said.sentence, softmax(logits.intents.tolist()), rtol=1e-6)
        if crf:
            ends = np.array([0, len(logits.slots)])
            assert parser.transitions is not None
            expected = crf_marginals(logits.slots, ends, parser.transitions, TagSet(SLOTS))
        else:
            expected = np.array([softmax(token) for token in logits.slots.tolist()])
        np.testing.assert_allclose(said.tags, expected, rtol=1e-5, atol=1e-9)
    assert ModelTeacher(path)([]) == []
    # Together with one of another kind.
    other = random_teacher(tmp_path / "other", "parse", 0, intents=("a", "b"), slots=SLOTS)
    soft = label([load_label_teacher(path), other], TEXTS, progress=False).soft
    targets = soft.targets(TEXTS[:1], np.array([len(found[0].tags)]), config)
    (said,) = other(TEXTS[:1])
    np.testing.assert_allclose(
        targets.sentence[0], (said.sentence + found[0].sentence) / 2, atol=1e-3
    )


def test_our_own_classifiers_are_teachers(tmp_path: Path, rng: np.random.Generator) -> None:
    config = default_config("classify", labels=("a", "b", "c"), **SMALL)
    path, _ = twin.random_model(config, rng, tmp_path)
    classifier = pq.load(path)
    assert isinstance(classifier, pq.Classifier)
    found = ModelTeacher(path)(TEXTS)
    np.testing.assert_allclose(
        [said.sentence for said in found], classifier.predict_proba(TEXTS), rtol=1e-6
    )
    assert len(label([ModelTeacher(path)], TEXTS, progress=False).soft) == len(set(TEXTS))


def tokens(*rows: dict[int, float]) -> np.ndarray:
    out = np.zeros((len(rows), len(SLOTS)))
    for row, shares in zip(out, rows, strict=True):
        row[list(shares)] = list(shares.values())
    return out


def test_rows_are_as_sure_as_asked() -> None:
    said = {
        "known one": ([1.0, 0.0], tokens({0: 1}, {0: 1})),
        # 0.9 times the least of 0.8 and 0.7
        "play jazz": ([0.9, 0.1], tokens({0: 0.8, 1: 0.2}, {1: 0.7, 2: 0.3})),
        # I-x cannot follow O, however probable: B-x is taken with its 0.4.
        "stop it": ([0.2, 0.8], tokens({0: 0.9, 1: 0.1}, {2: 0.45, 1: 0.4, 0: 0.15})),
        "...": ([0.25, 0.75], tokens({0: 1}, {0: 1}, {0: 1})),
    }
    teacher = Scripted(said, intents=("play", "stop"), slots=SLOTS)
    texts, more = ["known one"], list(said)
    found = label([teacher], texts, unlabelled=more, least=0.0, progress=False)
    assert len(found.soft) == 4
    assert [row.pop("score") for row in found.rows] == pytest.approx([0.63, 0.32, 0.75])
    assert found.rows == [
        {"text": "play jazz", "intent": "play", "slots": [[5, 9, "x"]]},
        {"text": "stop it", "intent": "stop", "slots": [[5, 7, "x"]]},
        {"text": "...", "intent": "stop", "slots": []},
    ]
    for least, kept in ((0.4, ["play jazz", "..."]), (0.75, ["..."]), (0.76, [])):
        found = label([teacher], texts, unlabelled=more, least=least, progress=False)
        assert [row["text"] for row in found.rows] == kept
        assert len(found.soft) == 4


def test_rows_of_classifiers_and_taggers(tmp_path: Path) -> None:
    nothing = np.zeros((0, 0))
    said = {"x": ([0.6, 0.4], nothing), "y": ([0.1, 0.9], nothing)}
    teacher = Scripted(said, labels=("no", "yes"))
    rows = label([teacher], [], unlabelled=["x", "y"], least=0.7, progress=False).rows
    assert rows == [{"text": "y", "label": "yes", "score": pytest.approx(0.9)}]
    said = {"x": ([0.6, 0.95, 0.1], nothing), "y": ([0.1, 0.2, 0.05], nothing)}
    several = Scripted(said, labels=("a", "b", "c"), multi_label=True)
    rows = label([several], [], unlabelled=["x", "y"], least=0, progress=False).rows
    assert rows == [
        {"text": "x", "labels": ["a", "b"], "score": pytest.approx(0.6)},
        {"text": "y", "labels": [], "score": pytest.approx(0.8)},
    ]
    tagger = Scripted({"play jazz": ([], tokens({0: 0.8}, {1: 0.7}))}, intents=("a",), slots=SLOTS)
    tagger.config = default_config("tag", slots=SLOTS)
    rows = label([tagger], [], unlabelled=["play jazz"], progress=False).rows
    assert rows == [{"text": "play jazz", "slots": [[5, 9, "x"]], "score": pytest.approx(0.7)}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    examples = read_examples(f"jsonl:{path}", "train")
    assert examples.task == "tag"
    assert examples.rows[0].slots == ((5, 9, "x"),)


def test_teachers_that_do_not_go_together() -> None:
    parser = Scripted({}, name="one", intents=("a",), slots=SLOTS)
    classifier = Scripted({}, name="two", labels=("a", "b"))
    several = Scripted({}, name="three", labels=("a", "b"), multi_label=True)
    with pytest.raises(
        ValueError, match=r"got 'parse' \(one\) and 'classify' of one label \(two\)"
    ):
        label([parser, classifier], ["x"])
    with pytest.raises(
        ValueError, match=r"one label \(two\) and 'classify' of several labels \(th"
    ):
        label([classifier, several], ["x"])
    apart = Scripted({}, intents=("a",), slots=SLOTS, projection={"split": "space"})
    with pytest.raises(ValueError, match="must have the same tokens, but differ on 'a,b'"):
        label([parser, apart], ["a,b"], progress=False)
    with pytest.raises(ValueError, match="teachers must be at least one, got none"):
        label([], ["x"])
    with pytest.raises(ValueError, match="texts must be at least one, got none"):
        label([parser], [])
    with pytest.raises(ValueError, match=r"least must be in \[0, 1\], got 1\.5"):
        label([parser], ["x"], least=1.5)


def test_a_student_learns_from_a_fine_tuned_teacher(tmp_path: Path) -> None:
    rows, dev = commands(60), commands(30, seed=1)
    folder = write_encoder(tmp_path / "encoder", [row.text for row in rows])
    fine_tune(
        folder, rows, dev, out=tmp_path / "teacher", progress=False, device="cpu",
        settings={"epochs": 10, "batch_size": 8, "learning_rate": 3e-3, "threads": 1},
    )  # fmt: skip
    teacher = load_label_teacher(tmp_path / "teacher", device="cpu")
    soft = label([teacher], [row.text for row in rows], progress=False).soft
    settings = pq.train.TrainSettings(
        epochs=15, batch_size=16, learning_rate=0.02, threads=1, ema=0.9
    )
    result = fit(
        rows, dev, out=tmp_path / "run", config=SMALL, settings=settings, soft_labels=soft,
        progress=False, pictures=False,
    )  # fmt: skip
    last = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])
    assert 0 < last["soft_intent_loss"] < 1
    assert 0 < last["soft_slot_loss"] < 1
    assert result.dev.average["exact_match"].value > 0.9


def write_jsonl(path: Path, rows: Sequence[Any]) -> str:
    lines = [
        {"text": r.text, "intent": r.intent, "slots": r.slots, "language": r.language} if r.intent
        else {"text": r.text, "label": r.labels[0]}
        for r in rows
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return f"jsonl:{path}"


QUICK = "--batch-size 8 --learning-rate 3e-3 --epochs 10 --threads 1 --device cpu".split()
STUDENT = (
    "--feature-size 96 --bottleneck-size 24 --state-size 12 --num-layers 1 --batch-size 16 "
    "--learning-rate 0.02 --epochs 6 --ema 0.9 --threads 1 --device cpu"
).split()


def test_from_an_encoder_to_a_small_parser(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="the run folder's curves need matplotlib")
    monkeypatch.chdir(tmp_path)
    rows, more = commands(60, languages=("en",)), commands(40, seed=5)
    write_encoder(tmp_path / "encoder", [row.text for row in rows])
    train, dev = (
        write_jsonl(tmp_path / "train.jsonl", rows),
        write_jsonl(tmp_path / "dev.jsonl", commands(30, seed=1)),
    )
    (tmp_path / "more.txt").write_text("\n".join(row.text for row in more) + "\nhall\n")
    data = ["--train", train, "--dev", dev]
    teach = ["teach", "--teacher", "hf:encoder", "--task", "parse", *data, *QUICK]
    assert main([*teach, "--out", "first"]) == 0
    table, said = capsys.readouterr()
    assert "exact match" in table
    assert table.splitlines()[-1] == "first"
    assert '"exact_match": 100.0' in said
    assert main([*teach, "--out", "second", "--seed", "1", "--freeze-embeddings"]) == 0
    capsys.readouterr()
    label_all = ["label", "--teacher", "first", "--teacher", "second", "--train", train]
    label_all += ["--text", "text:more.txt", "--out", "soft.npz", "--device", "cpu"]
    assert main([*label_all, "--pseudo", "more.jsonl", "--least", "0.5"]) == 0
    told = capsys.readouterr().out.splitlines()
    new = {*(row.text for row in more), "hall"} - {row.text for row in rows}
    texts = {row.text for row in rows} | new
    assert told[0] == f"soft.npz: {len(texts)} texts"
    soft = SoftLabels.load("soft.npz")
    assert all(text in soft for text in texts)
    found = read_examples("jsonl:more.jsonl", "train")
    assert told[1] == f"more.jsonl: {len(found)} rows of {len(new)} texts"
    gold = {row.text: row for row in more}
    assert {row.text for row in found} <= new
    assert {row.language for row in found} == {"en"}
    assert len(found) > 0
    assert all(
        (row.intent, row.slots) == (gold[row.text].intent, gold[row.text].slots)
        for row in found
        if row.text in gold
    )
    student = [
        "train",
        "--languages",
        "en",
        *data,
        "--train",
        "jsonl:more.jsonl",
        "--soft-labels",
        "soft.npz",
    ]
    assert main([*student, "--out", "run", *STUDENT]) == 0
    assert main(["label", "--teacher", "run", "--train", train, "--out", "again.npz"]) == 0
    assert len(SoftLabels.load("again.npz")) == len({row.text for row in rows})


def test_languages_of_further_texts(tmp_path: Path) -> None:
    for name in ("a.de.txt", "b.en.txt", "c.txt"):
        (tmp_path / name).write_text(f"{name}\n\nthe same\n{name} again\n")
    found = _further([f"text:{tmp_path}"], None, 3, {"de", "en"})
    assert found == {"a.de.txt": "de", "the same": "de", "b.en.txt": "en", "c.txt": ""}
    assert set(_further([f"text:{tmp_path}"], ["en"], 3, {"en"})) == {"b.en.txt", "the same"}
    assert set(_further([f"text:{tmp_path}/c.txt"], None, None, {"fr"}).values()) == {"fr"}


def test_from_an_encoder_to_a_small_classifier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="the run folder's curves need matplotlib")
    monkeypatch.chdir(tmp_path)
    rows = labelled(60)
    write_encoder(tmp_path / "encoder", [row.text for row in rows])
    train = write_jsonl(tmp_path / "train.jsonl", rows)
    teach = ["teach", "--teacher", "hf:encoder", "--train", train, "--out", "teacher", *QUICK]
    assert main(teach) == 0
    assert "accuracy" in capsys.readouterr().out
    assert main(["label", "--teacher", "teacher", "--train", train, "--out", "soft.npz"]) == 0
    student = ["train", "--train", train, "--soft-labels", "soft.npz", "--out", "run", *STUDENT]
    assert main(student) == 0
    assert '"soft_loss": ' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("teach --teacher hf:absent --train csv:rows.csv --out t", "hf:absent': no such file"),
        ("teach --teacher bert --train csv:rows.csv --out t", "as one of hf:PATH, got 'bert'"),
        ("teach --teacher hf:. --train csv:rows.csv --out t", "'.' holds no config.json"),
        ("teach --teacher hf:. --train csv:rows.csv --out t --task parse", "'classify', not"),
        ("teach --teacher hf:. --train csv:rows.csv --out t --ema 1", "ema must be in"),
        ("label --teacher . --train csv:rows.csv --out s.npz", "neither a folder with teacher.j"),
        ("label --teacher rows.csv --train csv:rows.csv --out s.npz", "cannot load 'rows.csv'"),
        (
            "label --teacher . --text text:rows.csv --out s --threads 0",
            "--threads must be at least 1",
        ),
        ("label --teacher default --out s.npz", "--train or --text must name texts, got neither"),
        ("label --teacher . --train csv:rows.csv --out s.npz --pseudo p", "--pseudo needs --text"),
        ("label --teacher . --train csv:rows.csv --out s.npz --least 1", "--least is for --pseudo"),
    ],
)
def test_mistakes_get_one_sentence(
    arguments: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("text,label\n" + "good,yes\nbad,no\n" * 10)
    assert main(arguments.split()) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert sentence in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]
