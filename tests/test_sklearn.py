"""The scikit-learn estimators: under its own checks, with its tools, saved and loaded."""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6", reason="scikit-learn 1.6 is not installed")

import joblib
import twin
from invented import labelled
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

import pqrnn_native as pq
from pqrnn_native.integrations.sklearn import PQRNNClassifier, PQRNNVectorizer

try:
    import torch
except ModuleNotFoundError:
    torch = None  # type: ignore[assignment]

needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")

SHAPE = {
    "state_size": 16,
    "num_layers": 1,
    "bottleneck_size": 16,
    "projection": {"feature_size": 64},
}


def tiny(**parameters: Any) -> PQRNNClassifier:
    given = {"config": SHAPE, "epochs": 10, "learning_rate": 0.02, "random_state": 0}
    return PQRNNClassifier(**{**given, **parameters})


def data(count: int = 160, seed: int = 0) -> tuple[list[str], list[str]]:
    examples = labelled(count, seed)
    return [e.text for e in examples], [e.labels[0] for e in examples]


@pytest.fixture(scope="module")
def fitted() -> PQRNNClassifier:
    pytest.importorskip("torch")
    return tiny().fit(*data())


# scikit-learn's checks feed rows of numbers, and are left out for an estimator whose tags say that
# it takes texts alone. So that they do run, these subclasses take numbers and spell them: column
# 1 with the value 0.5 becomes a word, near values become the same word.


def spelled(rows: np.ndarray) -> list[str]:
    steps = np.clip(np.rint(rows * 2), -12, 12).astype(int) + 12
    words = [[chr(97 + c % 26) + chr(97 + v) for c, v in enumerate(row)] for row in steps]
    return [" ".join(line) for line in words]


class Numbers:
    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.string = False
        return tags


class NumberClassifier(Numbers, PQRNNClassifier):
    def fit(self, X: Any, y: Any) -> Any:
        X, y = validate_data(self, X, y, multi_output=True)
        return super().fit(spelled(X), y)

    def predict_proba(self, X: Any) -> Any:
        check_is_fitted(self)
        return super().predict_proba(spelled(validate_data(self, X, reset=False)))


class NumberVectorizer(Numbers, PQRNNVectorizer):
    def fit(self, X: Any, y: Any = None) -> Any:
        validate_data(self, X)
        return super().fit()

    def transform(self, X: Any) -> Any:
        reset = not hasattr(self, "n_features_in_")
        return super().transform(spelled(validate_data(self, X, reset=reset)))


# Empty: every check that runs passes. Those that need pandas or another array library skip.
EXPECTED_FAILURES: dict[str, str] = {}


@needs_torch
@parametrize_with_checks(
    [NumberClassifier(**tiny().get_params()), NumberVectorizer()],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("estimator", [PQRNNClassifier(), PQRNNVectorizer()])
def test_checks_without_the_numbers(estimator: Any) -> None:
    with pytest.warns(SkipTestWarning, match="string=True"):
        results = check_estimator(estimator)
    assert results, "scikit-learn checked nothing"
    assert {result["status"] for result in results} == {"passed"}


@needs_torch
def test_learns_what_the_texts_say(fitted: PQRNNClassifier) -> None:
    texts, labels = data(60, seed=1)
    assert fitted.classes_.tolist() == sorted(set(data()[1]))
    assert fitted.score(texts, labels) > 0.9
    proba = fitted.predict_proba(texts)
    assert proba.shape == (60, 4)
    assert proba.dtype == np.float32
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)


@needs_torch
def test_answers_are_those_of_its_model_file(fitted: PQRNNClassifier, tmp_path: Path) -> None:
    texts, _ = data(20, seed=2)
    fitted.model_.save(tmp_path / "model.safetensors")
    model = pq.load(tmp_path / "model.safetensors")
    assert isinstance(model, pq.Classifier)
    assert model.predict(texts) == fitted.predict(texts).tolist()
    assert model.classes == tuple(fitted.classes_)
    assert model.config.precision == "int8"


@needs_torch
def test_trained_with_8_bits_in_the_loop(fitted: PQRNNClassifier) -> None:
    texts, labels = data(60, seed=1)
    looped = tiny(config={**SHAPE, "precision": "int8"}).fit(*data())
    assert looped.model_.config == fitted.model_.config
    assert looped.score(texts, labels) > 0.9


@needs_torch
@pytest.mark.parametrize("texts", [["", "a"], ["", " "]])
def test_texts_without_tokens(texts: list[str]) -> None:
    fitted = tiny(epochs=1, batch_size=2).fit(texts, [0, 1])
    np.testing.assert_allclose(fitted.predict_proba(["", "b"]).sum(axis=1), 1, rtol=1e-5)


@needs_torch
@pytest.mark.parametrize("X", [tuple, np.array, lambda x: np.array(x, dtype=object)])
def test_any_column_of_texts(fitted: PQRNNClassifier, X: Any) -> None:
    texts, _ = data(8, seed=3)
    assert fitted.predict(X(texts)).tolist() == fitted.predict(texts).tolist()


@needs_torch
def test_pandas_column(fitted: PQRNNClassifier) -> None:
    pandas = pytest.importorskip("pandas")
    texts, labels = data(30)
    table = pandas.DataFrame({"text": texts, "label": labels}, index=range(100, 130))
    assert fitted.predict(table["text"]).tolist() == fitted.predict(texts).tolist()
    again = tiny(epochs=2).fit(table["text"], table["label"])
    assert again.classes_.tolist() == sorted(set(labels))
    with pytest.raises(ValueError, match=r"X must be one-dimensional.*\(30, 1\)"):
        fitted.predict(table[["text"]])


@needs_torch
def test_labels_keep_their_type_and_order() -> None:
    texts, names = data(80)
    number = {"heater": 10, "lamp": 9, "radio": -1, "window": 100}
    found = tiny(epochs=6).fit(texts, [number[name] for name in names])
    # As text "-1" < "10" < "100" < "9"; the order of the columns must be that of the numbers.
    assert found.classes_.tolist() == [-1, 9, 10, 100]
    assert found.model_.classes == ("-1", "9", "10", "100")
    answers = found.predict(texts)
    assert answers.dtype == found.classes_.dtype
    by_hand = found.classes_[found.predict_proba(texts).argmax(axis=1)]
    assert answers.tolist() == by_hand.tolist()
    assert found.score(texts, [number[name] for name in names]) > 0.9
    truth = tiny(epochs=6).fit(texts, [name == "lamp" for name in names])
    assert truth.classes_.tolist() == [False, True]


@needs_torch
def test_starts_from_the_embedded_encoder() -> None:
    texts = ["turn off the light", "switch off the lamp", "play some jazz", "put on a song"]
    numbers = np.array([10, 10, -1, -1])
    found = PQRNNClassifier(random_state=0).fit(texts, numbers)
    assert found.classes_.tolist() == [-1, 10]
    # Words that no training text has: only the encoder can know of them.
    assert found.predict(["music please", "make it dark"]).tolist() == [-1, 10]
    encoder = pq.load("default").config
    assert found.model_.config.projection == encoder.projection
    assert found.model_.config.state_size == encoder.state_size
    assert tiny().fit(texts, numbers).model_.config.state_size == SHAPE["state_size"]
    nothing = PQRNNClassifier(init=None, epochs=1).fit(texts, numbers)
    assert nothing.model_.config.projection != encoder.projection
    several = np.array([[1, 0], [1, 0], [0, 1], [1, 1]])
    both = PQRNNClassifier(init="default", random_state=0).fit(texts, several)
    assert both.predict(["switch off the lamp", "play some jazz"]).tolist() == [[1, 0], [0, 1]]


@needs_torch
def test_an_encoder_without_ngrams_gets_some(tmp_path: Path, rng: np.random.Generator) -> None:
    config = pq.PQRNNConfig(
        projection=pq.ProjectionConfig(feature_size=96), bottleneck_size=16, state_size=8,
        num_layers=1, output_size=6,
    )  # fmt: skip
    path, _ = twin.random_model(config, rng, tmp_path)
    texts, labels = ["turn off the light", "play some jazz"] * 2, [1, 2] * 2
    projection = PQRNNClassifier(init=path).fit(texts, labels).model_.config.projection
    assert (projection.feature_size, projection.ngram_size) == (96 + 1024, 1024)


@needs_torch
def test_several_labels() -> None:
    examples = labelled(200, several=True)
    names = sorted({name for e in examples for name in e.labels})
    y = np.array([[name in e.labels for name in names] for e in examples], dtype=int)
    texts = [e.text for e in examples]
    found = tiny(epochs=20).fit(texts, y)
    assert found.classes_.tolist() == [0, 1, 2, 3]
    answers, proba = found.predict(texts), found.predict_proba(texts)
    assert answers.shape == proba.shape == y.shape
    assert ((proba >= 0.5) == answers).all()
    assert (answers == y).mean() > 0.9
    found.set_params(threshold=0.25)
    assert ((proba >= 0.25) == found.predict(texts)).all()
    sparse = pytest.importorskip("scipy.sparse")
    again = tiny(epochs=20).fit(texts, sparse.csr_matrix(y))
    assert (again.predict_proba(texts) == proba).all()


@needs_torch
def test_same_seed_same_model() -> None:
    texts, labels = data(40)
    proba = [
        tiny(epochs=2, random_state=seed).fit(texts, labels).predict_proba(texts)
        for seed in (1, 1, 2)
    ]
    assert (proba[0] == proba[1]).all()
    assert (proba[0] != proba[2]).any()


@needs_torch
def test_fit_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(temporary))
    monkeypatch.chdir(tmp_path)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    tiny(epochs=1, n_jobs=threads + 1).fit(*data(20))
    assert (torch.get_rng_state() == before).all()
    assert torch.get_num_threads() == threads
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]
    assert list(temporary.iterdir()) == []


@needs_torch
def test_validation_fraction_stops_early(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, labels = data(60)
    patient = {"patience": 1, "evaluate_every": 1, "learning_rate": 1e-9}
    steps = []
    from pqrnn_native.train import supervised

    real = supervised.train_step
    monkeypatch.setattr(supervised, "train_step", lambda *a: steps.append(a) or real(*a))
    tiny(epochs=100, validation_fraction=0.2, settings=patient).fit(texts, labels)
    # 300 steps, but 12 rows give 13 scores, so that the 14th evaluation at the latest is no better.
    assert 2 <= len(steps) <= 14
    assert len(steps[0][1].rows) == 48  # of 60 rows, 12 are set aside
    steps.clear()
    tiny(epochs=1, batch_size=20).fit(texts, labels)
    assert len(steps) == 3
    assert len(steps[0][1].rows) == 60


@needs_torch
def test_pickle_holds_the_model_and_no_torch(fitted: PQRNNClassifier, tmp_path: Path) -> None:
    texts, _ = data(10, seed=4)
    data_ = pickle.dumps(fitted)
    assert b"torch" not in data_
    assert (pickle.loads(data_).predict_proba(texts) == fitted.predict_proba(texts)).all()
    joblib.dump(fitted, tmp_path / "model.joblib")
    again = joblib.load(tmp_path / "model.joblib")
    assert again.predict(texts).tolist() == fitted.predict(texts).tolist()


@needs_torch
def test_clone_is_unfitted_with_the_same_parameters(fitted: PQRNNClassifier) -> None:
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(["x"])


@needs_torch
def test_grid_search() -> None:
    texts, labels = data(60)
    grid = {"model__epochs": [1, 12], "model__settings": [None, {"label_smoothing": 0.0}]}
    pipeline = Pipeline([("model", tiny())])
    search = GridSearchCV(pipeline, grid, cv=2).fit(texts, labels)
    assert search.best_params_["model__epochs"] == 12
    assert search.predict(texts[:3]).tolist() == search.best_estimator_.predict(texts[:3]).tolist()


@needs_torch
def test_cross_validation_in_processes() -> None:
    texts, labels = data(60)
    scores = [
        cross_val_score(tiny(epochs=2, n_jobs=1), texts, labels, cv=2, n_jobs=jobs)
        for jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("one text", ValueError, "X must be a sequence of texts, got one text: 'one text'"),
        ([["a"], ["b"]], TypeError, r"X must hold str alone, got \['a'\] in row 0"),
        (["a", 3], TypeError, "X must hold str alone, got 3 in row 1"),
        (["a", None], TypeError, "X must hold str alone, got None in row 1"),
        ([b"a"], TypeError, "X must hold str alone, got b'a' in row 0"),
        (np.array([["a"], ["b"]]), ValueError, r"X must be one-dimensional.*\(2, 1\)"),
        (np.array(["a", "b"])[None], ValueError, r"X must be one-dimensional.*\(1, 2\)"),
        (np.array([1.5, 2.0]), TypeError, "X must hold str alone, got 1.5 in row 0"),
        (np.array("a"), ValueError, r"X must be one-dimensional.*\(\)"),
        (7, TypeError, "X must be a sequence of texts, got 7"),
    ],
)
def test_what_is_no_column_of_texts(X: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PQRNNVectorizer().transform(X)
    if torch is not None:
        with pytest.raises(error, match=message):
            tiny().fit(X, ["p", "q"])


@needs_torch
@pytest.mark.parametrize(
    ("parameters", "X", "y", "error", "message"),
    [
        ({}, ["a", "b"], ["p"], ValueError, "y must have as many rows as X, 2, got 1"),
        ({}, ["a", "b"], None, ValueError, "requires y to be passed"),
        ({}, ["a", "b"], [0.1, 0.2], ValueError, "continuous"),
        ({}, ["a"], ["p"], ValueError, "n_samples=1"),
        ({"validation_fraction": 1.5}, ["a", "b"], [0, 1], ValueError, "got 1.5"),
        ({"epochs": -1}, ["a", "b"], [0, 1], ValueError, "epochs must not be negative, got -1"),
        ({"batch_size": 1}, ["a", "b"], [0, 1], ValueError, "batch_size must be at least 2"),
        ({"n_jobs": 0}, ["a", "b"], [0, 1], ValueError, "n_jobs must not be 0"),
        ({"config": {"depth": 3}}, ["a", "b"], [0, 1], TypeError, "depth"),
        ({"init": "default"}, ["a", "b"], [0, 1], ValueError, "config must be None with init="),
        ({"init": 3, "config": None}, ["a", "b"], [0, 1], TypeError, "init must be a path"),
        ({"init": "absent", "config": None}, ["a", "b"], [0, 1], FileNotFoundError, "absent"),
    ],
)
def test_arguments_that_do_not_fit(
    parameters: dict[str, Any], X: Any, y: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        tiny(**parameters).fit(X, y)


def test_vectorizer_gives_the_encoders_vectors() -> None:
    texts = data(12)[0]
    encoder = pq.load("default")
    vectors = PQRNNVectorizer().fit_transform(texts)
    np.testing.assert_array_equal(vectors, encoder.encode(texts))
    for model in (encoder, "default"):
        raw = PQRNNVectorizer(model, normalize=False).transform(texts)
        np.testing.assert_array_equal(raw, encoder.encode(texts, normalize=False))


def test_vectorizer_from_a_path_travels_without_it(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    pq.load("default").save(path)
    fitted = PQRNNVectorizer(path).fit()
    packed = pickle.dumps(fitted)
    path.unlink()
    again = pickle.loads(packed)
    np.testing.assert_array_equal(again.transform(["a b"]), pq.encode(["a b"]))
    with pytest.raises(FileNotFoundError):
        clone(again).transform(["a b"])


def test_vectorizer_names_its_columns() -> None:
    names = PQRNNVectorizer().get_feature_names_out()
    assert names.tolist() == [f"pqrnnvectorizer{c}" for c in range(pq.load("default").dim)]


def test_vectorizer_in_a_pipeline() -> None:
    texts, labels = data(60)
    pipeline = make_pipeline(PQRNNVectorizer(), LogisticRegression(C=10)).fit(texts, labels)
    assert pipeline.score(texts, labels) > 0.9
    again = pickle.loads(pickle.dumps(clone(pipeline).fit(texts, labels)))
    assert again.predict(texts).tolist() == pipeline.predict(texts).tolist()


@needs_torch
def test_vectorizer_refuses_other_models(fitted: PQRNNClassifier, tmp_path: Path) -> None:
    fitted.model_.save(tmp_path / "classifier.safetensors")
    with pytest.raises(ValueError, match="classifier.safetensors.* is a Classifier"):
        PQRNNVectorizer(tmp_path / "classifier.safetensors").fit()
    with pytest.raises(TypeError, match="model must be an Encoder or a path, got 3"):
        PQRNNVectorizer(3).fit()
