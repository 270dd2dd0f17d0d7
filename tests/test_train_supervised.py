"""Supervised training: it learns, what it saves answers alike, a seed decides every bit."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pqrnn_native.train needs torch")
pytest.importorskip("tqdm", reason="the run folder's progress bar needs tqdm")
pytest.importorskip("matplotlib", reason="the run folder's curves need matplotlib")

from invented import commands, labelled

import pqrnn_native as pq
from pqrnn_native.tags import TagSet
from pqrnn_native.train import Example, Examples, TrainSettings, default_config, fit
from pqrnn_native.train.batches import batches, count, endless
from pqrnn_native.train.evaluate import evaluate
from pqrnn_native.train.fitting import FitResult
from pqrnn_native.train.graph import Answers
from pqrnn_native.train.inputs import ProjectedInputs, drop_tokens
from pqrnn_native.train.learner import Learner, Logits, projected
from pqrnn_native.train.optim import Averaged, adamw, set_rate
from pqrnn_native.train.plots import most_confused
from pqrnn_native.train.processes import Processes
from pqrnn_native.train.rows import IGNORED, encode_rows
from pqrnn_native.train.settings import DEFAULT_PROJECTION
from pqrnn_native.train.sources import dev_of, examples_of
from pqrnn_native.train.supervised import GoldTags, losses

SMALL: dict[str, Any] = {
    "bottleneck_size": 24, "state_size": 12, "num_layers": 2, "projection": {"feature_size": 96},
}  # fmt: skip
SETTINGS = TrainSettings(
    epochs=20, batch_size=16, learning_rate=0.02, evaluate_every=50, threads=1, ema=0.9,
    dropout=0.05, token_dropout=0.02, distortion=0.02,
)  # fmt: skip


def run(out: Path, train: Any, dev: Any = None, **options: Any) -> FitResult:
    options = {"config": SMALL, "settings": SETTINGS, "progress": False, **options}
    return fit(train, dev, out=out, **options)


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def restored(result: FitResult) -> Learner:
    """The torch graph with the best weights of a run."""
    learner = projected(result.config, result.settings, Processes(), torch.device("cpu"))
    state = torch.load(result.folder / "best.pt", weights_only=True)
    learner.averaged.average.load_state_dict(state["average"])
    return learner


def test_a_parser_learns_and_the_engine_agrees_with_the_graph(tmp_path: Path) -> None:
    said: list[str] = []
    test = commands(40, seed=2, languages=("en", "xx"))
    result = run(
        tmp_path / "run", commands(240, languages=("en", "xx")),
        commands(60, seed=1, languages=("en", "xx")), test=test, say=said.append,
    )  # fmt: skip
    assert result.dev.average["exact_match"].value > 0.95
    assert result.test is not None
    assert result.test.average["exact_match"].value > 0.95
    assert set(result.dev.languages) == {"en", "xx"}
    for name in ("curve.png", "confusion.png"):
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")
    rows = rows_of(tmp_path / "run")
    assert rows[-1]["slot_loss"] < rows[0]["slot_loss"]
    # The run folder's table is the best evaluation's, and the model file's result as well.
    best = max(rows, key=lambda row: row["exact_match"])
    info = pq.checkpoint.read_metadata(result.path).info
    assert info["result"]["step"] == best["step"]
    assert 100 * result.dev.average["exact_match"].value == pytest.approx(best["exact_match"])
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["test"]["average"]["exact_match"]["value"] > 0.95
    assert f"{result.parameters:,} weights" in said[0]
    # Texts that training never saw, and that leave the model unsure.
    texts = [row.text for row in test] + ["", "stop", "radio in start?", "etanretla pots gnihton!"]
    graph = Answers([Example(text) for text in texts], result.config)(restored(result))
    parser = pq.load(result.path)
    engine = [(p.intent, [s[:3] for s in p.slots]) for p in parser.parse(texts)]
    assert engine == graph
    assert evaluate(tmp_path / "run", Examples("parse", test)) == result.test


@pytest.mark.parametrize("several", [False, True])
def test_a_classifier_learns_and_the_engine_agrees_with_the_graph(
    several: bool, tmp_path: Path
) -> None:
    train = examples_of(labelled(240, several=several), "train")
    assert (train.task, train.multi_label) == ("classify", several)
    dev = replace(train, rows=labelled(50, seed=1, several=several))
    result = run(tmp_path / "run", train, dev)
    metric = "micro_f1" if several else "accuracy"
    assert result.dev.average[metric].value > 0.9
    classifier = pq.load(result.path)
    texts = [row.text for row in dev]
    found = classifier.predict(texts)
    graph = Answers(dev.rows, result.config)(restored(result))
    assert [tuple(f) if several else (f,) for f in found] == graph
    assert evaluate(classifier, dev) == result.dev


def test_a_tagger_learns_from_the_slots_alone(tmp_path: Path) -> None:
    result = run(tmp_path / "run", commands(200), commands(40, seed=1), task="tag")
    assert result.config.intents == ()
    assert set(result.dev.average) == {"exact_match", "slot_f1"}
    assert result.dev.average["slot_f1"].value > 0.95
    assert not (tmp_path / "run/confusion.png").exists()
    tagger = pq.load(result.path)
    first = commands(1, seed=5)[0]
    assert [slot[:3] for slot in tagger.parse(first.text).slots] == list(first.slots)
    test = examples_of(commands(20, seed=6), "test", "tag")
    graph = Answers(test.rows, result.config)(restored(result))
    assert [(p.intent, [s[:3] for s in p.slots]) for p in tagger.parse([r.text for r in test])] == (
        graph
    )


def test_the_seed_decides_every_bit(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=3)
    train, dev = commands(64), commands(20, seed=1)
    files = [
        run(tmp_path / name, train, dev, settings=replace(settings, seed=seed)).path.read_bytes()
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=2)
    first = run(tmp_path / "run", commands(64), commands(20, seed=1), settings=settings)
    before = first.path.read_bytes()
    again = run(tmp_path / "run", commands(64), commands(20, seed=1), settings=settings)
    assert again.path.read_bytes() == before
    assert again.dev == first.dev
    assert len(rows_of(tmp_path / "run")) == 1


def test_training_stops_when_dev_no_longer_gets_better(tmp_path: Path) -> None:
    # Nothing can be learned from these, so that no evaluation beats an early one for long.
    train = [Example("same", labels=(str(k % 2),)) for k in range(32)]
    settings = replace(SETTINGS, epochs=50, patience=3, evaluate_every=2)
    result = run(tmp_path / "run", train, train[:10], settings=settings)
    rows = rows_of(tmp_path / "run")
    best = pq.checkpoint.read_metadata(result.path).info["result"]["step"]
    assert rows[-1]["step"] == best + 3 * 2 < 100


def test_training_goes_on_from_a_model_file(tmp_path: Path) -> None:
    train, dev = commands(160), commands(40, seed=1)
    first = run(tmp_path / "first", train, dev)
    still = replace(SETTINGS, epochs=1, learning_rate=1e-9)
    options = {"settings": still, "init": first.path, "config": None}
    second = run(tmp_path / "second", train, dev, **options)
    assert second.dev.average == first.dev.average
    assert second.config == first.config
    # A part of the names keeps the heads; a name that is new does not, nor does another shape.
    some = [row for row in train if row.intent == train[0].intent]
    part = run(tmp_path / "part", some, some[:9], **options)
    assert part.config.intents == first.config.intents
    assert part.dev.average["intent_accuracy"].value == 1
    new = [replace(row, intent="another") for row in some]
    other = run(tmp_path / "other", new, new[:9], **options)
    assert other.config.intents == ("another",)
    assert other.config.bottleneck_size == SMALL["bottleneck_size"]
    third = run(
        tmp_path / "third", train, dev, settings=still, init=first.path, task="classify"
    )  # only the encoder fits
    assert third.config.labels == first.config.intents
    bottleneck = [
        pq.checkpoint.load_tensors(r.path)["layers.0.forward.weight"] for r in (first, third)
    ]
    assert np.corrcoef(*(b.ravel() for b in bottleneck))[0, 1] > 0.9


@pytest.mark.parametrize("kind", ["words", "space", "codepoints"])
def test_distortion_keeps_the_number_of_tokens(kind: Any) -> None:
    settings = replace(SETTINGS, distortion=0.99, token_dropout=0, max_tokens=0)
    config = pq.ProjectionConfig(feature_size=32, split=kind)
    texts = ["a b I x-y z", "ตั้งปลุก 7 โมง", "", "é 日本語 ok", "x"]
    lengths = [len(pq.Projection(32, split=kind).spans(text)) for text in texts]
    featurizer = ProjectedInputs(config, settings)
    for seed in range(20):
        inputs = featurizer.training(texts, seed)
        assert inputs.offsets.diff().tolist() == lengths
        assert len(inputs.index) == sum(lengths)
        # What happens to a text depends on the seed and the text alone.
        place = slice(int(inputs.offsets[3]), int(inputs.offsets[4]))
        one = featurizer.training(texts[3:4], seed)
        torch.testing.assert_close(
            inputs.features[inputs.index[place]], one.features[one.index], rtol=0, atol=0
        )


def test_dropped_tokens_point_to_a_row_of_zeros() -> None:
    features, index = torch.ones(3, 4, dtype=torch.int8), torch.arange(3).repeat(1000)
    more, where = drop_tokens(features, index, 0.25, seed=1)
    shown = more[where]
    dropped = (shown == 0).all(1)
    assert ((shown == 1).all(1) | dropped).all()
    assert 650 < int(dropped.sum()) < 850  # 750, seven standard deviations of 24 either way
    assert torch.equal(drop_tokens(features, index, 0.25, seed=1)[1], where)
    assert not torch.equal(drop_tokens(features, index, 0.25, seed=2)[1], where)
    assert drop_tokens(features, index, 0.0, seed=1) == (features, index)


def test_losses_are_sums_of_cross_entropies_over_given_counts() -> None:
    sentence = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    tags = torch.tensor(
        [[0.0, 0.0, 0.0, 0.0], [math.log(5.0), 0.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0]]
    )
    gold = GoldTags(
        np.array([2, 0, IGNORED]), np.array([0, 1, 3]), TagSet(("O", "B-a", "B-b", "B-c"))
    )
    parts = losses(Logits(sentence, tags), np.array([1, 0]), gold, smoothing=0.0, rows=4, tokens=8)
    # -log(3/4) - log(1/2), and -log(1/4) - log(5/8)
    assert parts["intent_loss"].item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 4)
    assert parts["slot_loss"].item() == pytest.approx((math.log(4) + math.log(8 / 5)) / 8)
    # A CRF without a preference shares a text's likelihood among its 4 and its 4 valid tags.
    even = losses(
        Logits(None, torch.zeros(3, 4), torch.zeros(4, 4)), None, gold,
        smoothing=0.0, rows=1, tokens=2,
    )["loss"].item()  # fmt: skip
    assert even == pytest.approx(math.log(4))
    # With smoothing s the gold class weighs 1 - s + s / 2, the other s / 2.
    alone = losses(Logits(sentence, None), np.array([1, 1]), None, smoothing=0.2, rows=2, tokens=1)[
        "loss"
    ].item()
    expected = 0.9 * math.log(4 / 3) + 0.1 * math.log(4) + math.log(2)
    assert alone == pytest.approx(expected / 2)
    many = losses(
        Logits(torch.tensor([[0.0, math.log(3.0)]]), None), np.array([[1.0, 1.0]], np.float32),
        None, smoothing=0.0, rows=1, tokens=1,
    )["loss"].item()  # fmt: skip
    assert many == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_rows_hold_tags_of_tokens_and_ignore_marks() -> None:
    slots = ("O", "B-a", "I-a")
    config = pq.PQRNNConfig(
        task="parsing", intents=("x", "y"), slots=slots,
        projection=pq.ProjectionConfig(feature_size=8, bos=True, eos=True),
    )  # fmt: skip
    examples = [
        Example("one two three", intent="y", slots=((4, 13, "a"),)),
        Example("one", intent="x", slots=((0, 3, "b"),)),  # a label that the model does not have
    ]
    rows = encode_rows(examples, config)
    assert rows.lengths.tolist() == [5, 3]
    assert rows.sentence is not None
    assert rows.sentence.tolist() == [1, 0]
    assert rows.take(np.array([1, 0])).tags.tolist() == [
        IGNORED, 0, IGNORED, IGNORED, 0, 1, 2, IGNORED,
    ]  # fmt: skip
    cut = encode_rows(examples, config, max_tokens=2)
    assert cut.lengths.tolist() == [4, 3]
    assert cut.take(np.array([0])).tags.tolist() == [IGNORED, 0, 1, IGNORED]
    inputs = ProjectedInputs(config.projection, replace(SETTINGS, max_tokens=2))
    assert len(inputs.training(["one two three"], 0).index) == 4


def test_batches_keep_a_rest_that_is_large_enough() -> None:
    lengths = np.arange(37) % 5
    parts = batches(lengths, 8, seed=0, epoch=0, least=2)
    assert sorted(len(part) for part in parts) == [5, 8, 8, 8, 8]
    assert sorted(np.concatenate(parts).tolist()) == list(range(37))
    assert len(batches(lengths, 8, seed=0, epoch=0, least=6)) == count(37, 8, least=6) == 4
    assert count(37, 8, least=5) == 5
    assert count(40, 8, least=2) == 5
    whole = list(endless(lengths, 8, 3, 0, 12, least=2))
    assert [step for step, _ in whole] == list(range(12))
    for (step, rows), (again, same) in zip(
        whole[7:], endless(lengths, 8, 3, 7, 12, least=2), strict=True
    ):
        assert step == again
        np.testing.assert_array_equal(rows, same)


def test_settings_follow_from_the_number_of_rows() -> None:
    small, large = (TrainSettings().resolve(rows) for rows in (40, 70_000))
    assert small.batch_size == 16
    assert large.batch_size == 256
    assert large.epochs < small.epochs == 100
    assert large.evaluate_every == 70_000 // 256
    assert TrainSettings(epochs=3, batch_size=8).resolve(5000).epochs == 3
    assert TrainSettings().resolve(70_000, processes=2).batch_size == 128
    assert TrainSettings().resolve(5000, task="tag").dropout == 0.2
    with pytest.raises(ValueError, match="at least 2 rows, got 1"):
        TrainSettings().resolve(1)
    for name, value in (
        ("epochs", -1), ("learning_rate", math.nan), ("ema", 1.0), ("dropout", 1), ("clip", 0),
        ("batch_size", 1), ("patience", -1),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            TrainSettings(**{name: value})


def test_settings_for_classifying() -> None:
    few, some, many = (TrainSettings().resolve(n, task="classify") for n in (100, 5000, 100_000))
    assert [s.epochs for s in (few, some, many)] == [40, 30, 8]
    assert [s.batch_size for s in (few, some, many)] == [16, 32, 64]
    assert few.learning_rate < some.learning_rate == many.learning_rate == 4e-3
    assert some.dropout == 0.4
    assert TrainSettings(dropout=0.0).resolve(5000, task="classify").dropout == 0.0


def test_the_default_shape_has_at_most_two_million_weights() -> None:
    # As many names as MTOP has in six languages.
    config = default_config(
        "parse", intents=[f"i{k}" for k in range(117)], slots=["O", *(f"B-{k}" for k in range(160))]
    )
    assert config.parameter_count() <= 2_000_000
    assert default_config("tag", slots=("O",), state_size=64).state_size == 64
    few = default_config("classify", labels="ab", projection={"feature_size": 224, "lower": False})
    # Half of the features, in whole hash words of 32.
    assert DEFAULT_PROJECTION.ngram_size / DEFAULT_PROJECTION.feature_size == 0.5
    assert (few.projection.feature_size, few.projection.ngram_size) == (224, 96)
    assert not few.projection.lower
    odd = default_config("classify", labels="ab", projection={"feature_size": 50})
    assert odd.projection.ngram_size == 0
    spaced = default_config("tag", slots=("O",), projection={"split": "space"})
    assert not spaced.projection.split_apostrophes
    with pytest.raises(ValueError, match="task must be one of parse, classify, tag, got 'sing'"):
        default_config("sing")  # type: ignore[arg-type]


def test_dev_examples_are_set_aside_by_the_seed() -> None:
    rows = commands(40)
    train = examples_of(rows, "train")
    rest, dev = dev_of(rows, train, seed=0)
    assert (len(rest), len(dev)) == (36, 4)
    assert sorted(map(repr, [*rest, *dev])) == sorted(map(repr, rows))
    assert dev_of(rows, train, seed=0)[1].rows == dev.rows
    assert dev_of(rows, train, seed=1)[1].rows != dev.rows
    with pytest.raises(ValueError, match="at least 4 rows to set some aside, got 3"):
        dev_of(rows[:3], examples_of(rows[:3], "train"), seed=0)


def test_sources() -> None:
    rows = commands(5)
    assert examples_of(rows, "train").task == "parse"
    assert examples_of([replace(r, intent="") for r in rows], "train").task == "tag"
    as_labels = examples_of(rows, "train", "classify")
    assert [row.labels for row in as_labels] == [(row.intent,) for row in rows]
    with pytest.raises(ValueError, match="train data are for task 'classify', not 'parse'"):
        examples_of(Examples("classify", labelled(3)), "train", "parse")
    for bad in ([], ["csv:x", rows[0]], [3]):
        with pytest.raises(TypeError, match="examples or names kind:path"):
            examples_of(bad, "train")


def test_confusions_keep_the_names_with_most_errors() -> None:
    gold = ["a"] * 5 + ["b"] * 3 + ["c"] * 2 + ["d"]
    predicted = ["a"] * 3 + ["b"] * 4 + ["c"] * 3 + ["d"]
    names, counts = most_confused(gold, predicted, most=2)
    assert names == ["a", "b"]  # a: 2 errors, b: 3, c: 1, d: 0
    assert counts.tolist() == [[3, 2], [0, 2]]
    assert most_confused([], [])[0] == []


def test_refusals(tmp_path: Path) -> None:
    train, dev = commands(20), commands(5, seed=1)
    with pytest.raises(ValueError, match="model must be one of pqrnn, lstm, transformer"):
        run(tmp_path / "run", train, dev, model="gru")
    with pytest.raises(ValueError, match="features must be 'projection' for model 'pqrnn'"):
        run(tmp_path / "run", train, dev, features="word")
    with pytest.raises(ValueError, match="device must be one that torch has here, got 'abacus'"):
        run(tmp_path / "run", train, dev, device="abacus")
    config = default_config("parse", intents=("other",), slots=("O",))
    with pytest.raises(ValueError, match="examples must have one label that the model knows"):
        run(tmp_path / "run", train, dev, config=config)
    run(tmp_path / "done", train, dev, settings=replace(SETTINGS, epochs=1))
    with pytest.raises(ValueError, match="made with another settings, train"):
        run(tmp_path / "done", train[1:], dev, settings=replace(SETTINGS, epochs=2))
    hot = replace(SETTINGS, learning_rate=1e30, clip=1e30, warmup=0.0)
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        run(tmp_path / "hot", train, dev, settings=hot)


def test_training_with_8_bits_in_the_loop(tmp_path: Path) -> None:
    """What is saved runs in whole numbers and answers as the graph does; a cut run goes on."""
    rows = commands(60)
    result = run(tmp_path / "whole", rows, rows, precision="int8")
    assert result.config.precision == "int8"
    model = pq.load(result.path)
    assert isinstance(model, pq.Parser)
    assert model.config.precision == "int8"
    assert result.dev.average["exact_match"].value > 0.9
    assert evaluate(model, Examples("parse", rows)).average["exact_match"].value == (
        result.dev.average["exact_match"].value
    )
    short = replace(SETTINGS, epochs=6)
    float_run = run(tmp_path / "float", rows, rows, settings=short)
    tuned = run(
        tmp_path / "tuned", rows, rows, settings=short, init=float_run.path, precision="int8",
        config=None,
    )  # fmt: skip
    assert tuned.config.precision == "int8"
    assert tuned.config.bottleneck_size == float_run.config.bottleneck_size


def test_a_classifier_of_8_bits_is_not_stored_in_4(tmp_path: Path) -> None:
    rows = Examples("classify", labelled(20))
    with pytest.raises(ValueError, match="dtype must not be 'int4' where .* 'int8'"):
        fit(rows, rows, out=tmp_path / "run", precision="int8", dtype="int4", device="cpu")
    assert not list(tmp_path.iterdir())


def test_parts_of_a_model_learn_at_their_own_rate() -> None:
    model = torch.nn.ModuleDict(
        {
            "body": torch.nn.ModuleDict({"heads": torch.nn.Linear(2, 3)}),
            "heads": torch.nn.Linear(3, 1),
            "still": torch.nn.Linear(1, 1),
        }
    )
    model["still"].requires_grad_(False)
    optimizer = adamw(model, 0.1, 0.5, {"heads": 6.0})
    set_rate(optimizer, 0.01)
    found = [
        ([tuple(p.shape) for p in group["params"]], group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
    ]
    assert found == [
        ([(3, 2)], 0.01, 0.5), ([(3,)], 0.01, 0.0), ([(1, 3)], 0.06, 0.5), ([(1,)], 0.06, 0.0)
    ]  # fmt: skip


def test_a_part_is_named_by_its_path() -> None:
    model = torch.nn.ModuleDict(
        {"encoder": torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "ab": torch.nn.Linear(3, 3)})}
    )
    optimizer = adamw(model, 0.1, 0.5, {"encoder.a": 0.125})
    set_rate(optimizer, 0.8)
    rates = {group["params"][0].shape[0]: group["lr"] for group in optimizer.param_groups}
    assert rates == {3: 0.8, 2: 0.1}


def test_an_average_of_nothing_is_the_model() -> None:
    model = torch.nn.Linear(2, 2)
    averaged = Averaged(model, 0.0)
    averaged.update(3)
    assert averaged.average is model
    assert all(p.requires_grad for p in model.parameters())
    state = {name: {"weight": torch.ones(2, 2), "bias": torch.ones(2)} for name in averaged.state()}
    averaged.load(state)
    assert model(torch.ones(2)).tolist() == [3, 3]
