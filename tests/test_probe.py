"""The head that a classifier gets when it starts from a trained encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")

import twin
from invented import labelled

import pqrnn_native as pq
from pqrnn_native.train import Examples, TrainSettings, fit
from pqrnn_native.train.fitting import encoder_shape
from pqrnn_native.train.probe import logistic_regression

# One step that changes nothing: batch norm sees all texts, as they are, at once.
STILL = TrainSettings(
    epochs=1, learning_rate=1e-12, batch_size=90, ema=0.0, dropout=0.0, token_dropout=0.0, threads=1
)

# An encoder without n-grams.
PLAIN = pq.PQRNNConfig(
    projection=pq.ProjectionConfig(feature_size=256),
    bottleneck_size=24,
    state_size=16,
    num_layers=1,
    output_size=12,
    skip=True,
)


def drawn(rows: int, width: int, labels: int, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, width))
    scores = vectors @ rng.normal(size=(width, labels)) + rng.gumbel(size=(rows, labels))
    return vectors, scores


@pytest.mark.parametrize("strength", [0.1, 10.0])
def test_agrees_with_scikit_learn(strength: float) -> None:
    vectors, scores = drawn(80, 6, 4, seed=1)
    gold = scores.argmax(axis=1)
    weight, bias = logistic_regression(
        torch.from_numpy(vectors), torch.from_numpy(gold), 4, strength=strength
    )
    model = linear_model.LogisticRegression(C=strength, tol=1e-8, max_iter=5000)
    model.fit(vectors, gold)
    # A constant for all labels says nothing; scikit-learn's sum to zero.
    np.testing.assert_allclose(weight - weight.mean(0), model.coef_, atol=2e-3)
    np.testing.assert_allclose(bias - bias.mean(), model.intercept_, atol=2e-3)


def test_several_labels_are_as_many_regressions() -> None:
    vectors, scores = drawn(60, 5, 3, seed=2)
    gold = (scores > 0).astype(np.float32)
    weight, bias = logistic_regression(torch.from_numpy(vectors), torch.from_numpy(gold), 3)
    for label in range(3):
        model = linear_model.LogisticRegression(C=10.0, tol=1e-8, max_iter=5000)
        model.fit(vectors, gold[:, label])
        np.testing.assert_allclose(weight[label], model.coef_[0], rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(bias[label], model.intercept_[0], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("several", [False, True])
def test_a_classifier_begins_as_a_regression_on_the_encoders_vectors(
    tmp_path: Path, several: bool
) -> None:
    rows = labelled(90, several=several)
    train = Examples("classify", rows, multi_label=several)
    result = fit(
        train, train, out=tmp_path / "run", init="default", settings=STILL, device="cpu",
        progress=False, pictures=False,
    )  # fmt: skip
    model = pq.load(str(result.path))
    assert isinstance(model, pq.Classifier)
    texts = [row.text for row in rows]
    vectors = pq.load("default").encode(texts, normalize=False).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1).mean()
    names = model.classes
    found = model.predict_proba(texts)
    if several:
        for column, name in enumerate(names):
            own = linear_model.LogisticRegression(C=10.0, max_iter=5000)
            own.fit(vectors, [name in row.labels for row in rows])
            expected = own.predict_proba(vectors)[:, 1]
            np.testing.assert_allclose(found[:, column], expected, atol=0.02)
    else:
        own = linear_model.LogisticRegression(C=10.0, max_iter=5000)
        own.fit(vectors, [names.index(row.labels[0]) for row in rows])
        # The embedded encoder runs in 8 bits, the classifier in float32.
        np.testing.assert_allclose(found, own.predict_proba(vectors), atol=0.02)


def test_further_features_change_nothing_at_first(tmp_path: Path, rng: np.random.Generator) -> None:
    train = Examples("classify", labelled(90))
    encoder, _ = twin.random_model(PLAIN, rng, tmp_path)
    shapes = {size: encoder_shape(encoder, ngrams=size) for size in (0, 64)}
    assert shapes[64]["projection"]["ngram_size"] == 64
    assert encoder_shape("default", ngrams=64)["projection"]["ngram_size"] == 2048  # has its own
    answers = []
    exact = replace(STILL, bfloat16=False)  # rows of other sizes are rounded to other numbers
    for size, shape in shapes.items():
        result = fit(
            train, train, out=tmp_path / str(size), init=encoder, config=shape, settings=exact,
            device="cpu", progress=False, pictures=False,
        )  # fmt: skip
        model = pq.load(str(result.path))
        assert isinstance(model, pq.Classifier)
        answers.append(model.predict_proba([row.text for row in train]))
    np.testing.assert_allclose(*answers, atol=1e-5)


def test_few_rows_learn_slowly_from_an_encoder() -> None:
    few, many = (
        TrainSettings().resolve(rows, task="classify", started=True) for rows in (100, 50_000)
    )
    assert few.learning_rate == pytest.approx(3e-5)
    assert many.learning_rate == pytest.approx(3e-3)
    assert few.epochs == many.epochs == 8
    assert (few.batch_size, many.batch_size) == (16, 32)
    own = TrainSettings(epochs=3, learning_rate=0.01)
    assert own.resolve(100, task="classify", started=True).learning_rate == 0.01
