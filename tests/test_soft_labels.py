"""Soft labels: kept, found again, brought into a model's columns, and learned."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import pqrnn_native as pq
from pqrnn_native.train import Example, TrainSettings, fit
from pqrnn_native.train.learner import Logits
from pqrnn_native.train.losses import soft_binary_cross_entropy, soft_cross_entropy
from pqrnn_native.train.soft_labels import SoftLabels, SoftTargets
from pqrnn_native.train.supervised import soft_losses

INTENTS, SLOTS = ("a", "b", "c"), ("O", "B-x", "I-x", "B-y")
TEXTS = ["one two", "", "three"]
SENTENCES = [np.array([0.5, 0.3, 0.2]), np.array([0.0, 1.0, 0.0]), np.array([0.1, 0.1, 0.8])]
TAGS = [
    np.array([[0.7, 0.1, 0.1, 0.1], [0.25, 0.0, 0.75, 0.0]]),
    np.zeros((0, 4)),
    np.array([[0.0, 0.5, 0.25, 0.25]]),
]


def config(intents: tuple[str, ...] = INTENTS, slots: tuple[str, ...] = SLOTS) -> pq.PQRNNConfig:
    return pq.PQRNNConfig(
        task="parsing", intents=intents, slots=slots,
        projection=pq.ProjectionConfig(feature_size=32, bos=True),
    )  # fmt: skip


@pytest.fixture
def labels() -> SoftLabels:
    return SoftLabels(TEXTS, INTENTS, SLOTS, zip(SENTENCES, TAGS, strict=True), top=3)


def test_targets_are_what_was_said(labels: SoftLabels, tmp_path: Path) -> None:
    labels.save(tmp_path / "soft.npz")
    found = SoftLabels.load(tmp_path / "soft.npz")
    assert len(found) == 3
    assert "three" in found
    assert "four" not in found
    assert found.digest() == labels.digest()
    texts = ["three", "four", "one two"]
    targets = found.targets(texts, np.array([2, 3, 3]), config())
    np.testing.assert_allclose(targets.sentence[0], SENTENCES[2], atol=1e-3)
    np.testing.assert_array_equal(targets.sentence[1], 0)
    np.testing.assert_allclose(targets.sentence[2], SENTENCES[0], atol=1e-3)
    # Each text begins with a mark, of which no teacher knows.
    np.testing.assert_array_equal(targets.tags[[0, 2, 3, 4, 5]], 0)
    np.testing.assert_allclose(targets.tags[1], [0, 0.5, 0.25, 0.25], atol=1e-3)
    # The fourth largest was not kept; the others share what it had.
    np.testing.assert_allclose(np.sort(targets.tags[6])[::-1], [7 / 9, 1 / 9, 1 / 9, 0], atol=1e-3)
    np.testing.assert_allclose(targets.tags[7], [0.25, 0, 0.75, 0], atol=1e-3)


def test_names_that_a_model_lacks_lose_their_share(labels: SoftLabels) -> None:
    other = config(("new", "c", "a"), ("O", "I-x", "B-x"))
    targets = labels.targets(["one two"], np.array([3]), other)
    np.testing.assert_allclose(targets.sentence[0], [0, 2 / 7, 5 / 7], atol=1e-3)
    np.testing.assert_allclose(targets.tags[2], [0.25, 0.75, 0], atol=1e-3)


def test_tokens_counted_otherwise_have_no_tags(labels: SoftLabels) -> None:
    targets = labels.targets(["one two"], np.array([4]), config())
    np.testing.assert_array_equal(targets.tags, 0)
    assert targets.sentence.sum() == pytest.approx(1, abs=1e-3)


def test_bad_predictions_and_files(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"predictions must be \[3\] and \[tokens, 4\], got \(2,\)"
    ):
        SoftLabels(["x"], INTENTS, SLOTS, [(np.zeros(2), np.zeros((1, 4)))])
    with pytest.raises(ValueError, match=r"shorter|longer"):
        SoftLabels(TEXTS, INTENTS, SLOTS, zip(SENTENCES[:2], TAGS[:2], strict=True))
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match=r"text\.npz' holds no soft labels"):
        SoftLabels.load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="holds no soft labels"):
        SoftLabels.load(tmp_path / "other.npz")


def test_soft_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0], [5.0, 1.0]])
    targets = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.0, 0.0]])
    # -(log(3/4) + log(1/4)) / 2, then log 2, then nothing.
    expected = -(math.log(3 / 4) + math.log(1 / 4)) / 2 + math.log(2)
    assert soft_cross_entropy(logits, targets).item() == pytest.approx(expected, rel=1e-6)
    # At temperature 2 shares 0.9 and 0.1 become 3/4 and 1/4, and sqrt(3) / (sqrt(3) + 1).
    p = math.sqrt(3) / (math.sqrt(3) + 1)
    softer = 4 * (-(math.log(p) + math.log(1 - p)) / 2 + math.log(2))
    assert soft_cross_entropy(logits, targets, 2.0).item() == pytest.approx(softer, rel=1e-6)
    nowhere = torch.tensor([[0.0, -math.inf]])
    assert soft_cross_entropy(nowhere, torch.tensor([[1.0, 0.0]])).item() == 0


def test_soft_losses_are_divided_by_counts() -> None:
    logits = Logits(torch.zeros(2, 4), torch.zeros(3, 8))
    targets = SoftTargets(np.full((2, 4), 0.25, np.float32), np.full((3, 8), 0.125, np.float32))
    parts = soft_losses(logits, targets, temperature=1.0, rows=4, tokens=6)
    assert parts["soft_intent_loss"].item() == pytest.approx(2 * math.log(4) / 4)
    assert parts["soft_slot_loss"].item() == pytest.approx(3 * math.log(8) / 6)
    (loss,) = soft_losses(
        logits._replace(sentence=None), targets, temperature=1.0, rows=4, tokens=6
    ).items()  # of a tagger
    assert loss[0] == "soft_loss"
    assert loss[1].item() == pytest.approx(3 * math.log(8) / 6)
    (loss,) = soft_losses(
        logits._replace(tags=None), targets, temperature=1.0, rows=4, tokens=6
    ).items()  # of a classifier
    assert loss[0] == "soft_loss"
    assert loss[1].item() == pytest.approx(2 * math.log(4) / 4)


def test_soft_binary_cross_entropy_by_hand() -> None:
    # The student's probabilities are 3/4 and 1/2, the teacher's 9/10 and 1.
    logits, targets = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[0.9, 1.0]])
    expected = -(0.9 * math.log(3 / 4) + 0.1 * math.log(1 / 4)) + math.log(2)
    found = soft_binary_cross_entropy(logits, targets)
    assert found.item() == pytest.approx(expected, rel=1e-6)
    # At temperature 2 they are sqrt(3) / (sqrt(3) + 1) and 1/2; odds of 9 become odds of 3.
    p = math.sqrt(3) / (math.sqrt(3) + 1)
    softer = 4 * (-(3 / 4 * math.log(p) + 1 / 4 * math.log(1 - p)) + math.log(2))
    assert soft_binary_cross_entropy(logits, targets, 2.0).item() == pytest.approx(softer, rel=1e-6)


def test_soft_losses_of_several_labels_count_known_texts_alone() -> None:
    logits = Logits(torch.tensor([[math.log(3.0), 0.0], [7.0, -7.0], [0.0, 0.0]]), None)
    shares = np.array([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]], np.float32)
    targets = SoftTargets(shares, np.zeros((0, 0), np.float32), np.array([True, False, True]))
    (loss,) = soft_losses(logits, targets, temperature=1.0, rows=5, tokens=0).values()
    # Means over the 2 labels: (log 4 + log 2) / 2 of the first text, log 2 of the third.
    expected = (math.log(4) + math.log(2)) / 2 + math.log(2)
    assert loss.item() == pytest.approx(expected / 5, rel=1e-6)


def test_a_student_says_what_its_teacher_says(tmp_path: Path) -> None:
    """Gold answers are wrong everywhere, and weigh next to nothing."""
    words = [
        f"{a} {b}" for a in ("wake", "call", "play", "stop") for b in ("me", "jazz", "bob", "it")
    ]
    rows = [Example(text, intent="b", slots=((0, 4, "x"),)) for text in words * 8]
    rows += [Example(text, intent="a", slots=((5, 6, "x"),)) for text in words]
    taught = [
        (np.array([0.99, 0.01]), np.array([[0.98, 0.01, 0.01], [0.02, 0.97, 0.01]])) for _ in words
    ]
    soft = SoftLabels(words, ("a", "b"), ("O", "B-x", "I-x"), taught)
    soft.save(tmp_path / "soft.npz")
    settings = TrainSettings(
        epochs=25, batch_size=16, learning_rate=0.02, threads=1, soft_weight=50.0, ema=0.9,
        token_dropout=0.0,
    )  # fmt: skip
    shape = {"bottleneck_size": 24, "state_size": 12, "projection": {"feature_size": 96}}
    result = fit(
        rows, rows[-16:], out=tmp_path / "run", settings=settings, config={**shape, "crf": False},
        soft_labels=tmp_path / "soft.npz", progress=False, pictures=False,
    )  # fmt: skip
    parser = pq.load(result.path)
    assert isinstance(parser, pq.Parser)
    for parse in parser.parse(words):
        assert parse.intent == "a"
        assert [(slot.start, slot.label) for slot in parse.slots] == [(5, "x")]


def of_labels(multi_label: bool, labels: tuple[str, ...] = ("a", "b", "c")) -> pq.PQRNNConfig:
    return pq.PQRNNConfig(
        task="classification", labels=labels, multi_label=multi_label,
        projection=pq.ProjectionConfig(feature_size=32),
    )  # fmt: skip


def without_tags(sentences: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(each, np.zeros((0, 0))) for each in sentences]


def test_targets_of_a_classifier_are_shares_of_its_labels() -> None:
    soft = SoftLabels(TEXTS, INTENTS, (), without_tags(SENTENCES), top=2)
    config = of_labels(False, ("c", "new", "a", "b"))
    targets = soft.targets(["three", "four", "one two"], np.array([1, 1, 2]), config)
    assert targets.known is None
    assert targets.tags.shape == (4, 0)
    np.testing.assert_allclose(targets.sentence[0], [8 / 9, 0, 1 / 9, 0], atol=1e-3)
    np.testing.assert_array_equal(targets.sentence[1], 0)
    np.testing.assert_allclose(targets.sentence[2], [0, 0, 5 / 8, 3 / 8], atol=1e-3)


def test_probabilities_of_several_labels_are_kept_as_they_are(tmp_path: Path) -> None:
    shares = [np.array([0.9, 0.8, 0.1]), np.zeros(3), np.array([0.01, 0.02, 0.03])]
    soft = SoftLabels(TEXTS, INTENTS, (), without_tags(shares), top=1, multi_label=True)
    soft.save(tmp_path / "soft.npz")
    found = SoftLabels.load(tmp_path / "soft.npz")
    assert found.multi_label
    assert found.digest() == soft.digest()
    config = of_labels(True, ("c", "a"))
    targets = found.targets(["", "three", "four", "one two"], np.array([0, 1, 1, 2]), config)
    assert targets.known is not None
    assert targets.known.tolist() == [True, True, False, True]
    np.testing.assert_allclose(
        targets.sentence, [[0, 0], [0.03, 0.01], [0, 0], [0.1, 0.9]], atol=1e-3
    )


def test_soft_labels_of_another_kind_are_refused(labels: SoftLabels, tmp_path: Path) -> None:
    rows = [Example("x", labels=("d",)), Example("y", labels=("e",))] * 4
    with pytest.raises(ValueError, match=r"names of the model, such as 'd', got \['B-x'"):
        fit(rows, out=tmp_path / "run", soft_labels=labels)
    several = [Example("x", labels=("a", "b")), Example("y")] * 4
    with pytest.raises(ValueError, match="must be of several labels a text for this model, got on"):
        fit(several, task="classify", out=tmp_path / "run", soft_labels=labels)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("several", [False, True])
def test_a_classifier_says_what_its_teacher_says(several: bool, tmp_path: Path) -> None:
    """Gold labels are wrong everywhere, and weigh next to nothing."""
    words = [f"{a} {b}" for a in ("wake", "call") for b in ("me", "jazz", "bob", "it")]
    gold = ("b", "c") if several else ("b",)
    rows = [Example(text, labels=gold) for text in words * 8]
    rows += [Example("nothing", labels=("a",)), Example("whatever", labels=("c",))]

    def said(text: str) -> np.ndarray:
        first = text.startswith("wake")
        if several:
            return np.array([0.99, 0.01, 0.98 if first else 0.02])
        return np.array([0.98, 0.01, 0.01]) if first else np.array([0.01, 0.01, 0.98])

    soft = SoftLabels(
        words, INTENTS, (), without_tags([said(text) for text in words]), multi_label=several
    )
    settings = TrainSettings(
        epochs=30, batch_size=16, learning_rate=0.02, threads=1, soft_weight=50.0, ema=0.9,
        token_dropout=0.0, dropout=0.0,
    )  # fmt: skip
    shape = {"bottleneck_size": 24, "state_size": 12, "projection": {"feature_size": 96}}
    result = fit(
        rows, rows[-2:], out=tmp_path / "run", settings=settings, config=shape, task="classify",
        soft_labels=soft, progress=False, pictures=False,
    )  # fmt: skip
    classifier = pq.load(result.path)
    assert isinstance(classifier, pq.Classifier)
    np.testing.assert_allclose(
        classifier.predict_proba(words), [said(text) for text in words], atol=0.1
    )
