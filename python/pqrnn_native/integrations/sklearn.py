"""scikit-learn estimators: a classifier that is trained, and a vectorizer that is not.

Both take texts: a list or tuple of ``str``, a one-dimensional NumPy array, or a pandas Series. The
vectorizer and a fitted classifier need no torch; :meth:`PQRNNClassifier.fit` does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from .._optional import require

require("sklearn", extra="sklearn")

from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d

from ..base import FloatArray
from ..classifier import Classifier
from ..config import PQRNNConfig
from ..encoder import Encoder
from ..loading import load
from ..projection import Projection
from ..quantise import quantise

__all__ = ["PQRNNClassifier", "PQRNNVectorizer"]

_NEVER = 2**31
_NGRAMS = 1024  # features that an encoder without any gets
_CALIBRATED = 2000  # texts that say how large activations become


class PQRNNClassifier(ClassifierMixin, BaseEstimator):
    """A pQRNN that is trained on texts and their labels.

    What is None follows from the data, so that there is nothing to tune to begin with. Without
    ``validation_fraction`` all texts are trained on, to the end of the last epoch.

    Args:
        epochs: Passes over the texts.
        batch_size: Texts a step, at least 2.
        learning_rate: Peak of a linear warm-up followed by a cosine decay.
        validation_fraction: Share of the texts to set aside, in (0, 1): the model that is kept is
            the one that does best on them, and training stops when it no longer gets better.
        init: Model file whose encoder to start from, or the name of one that comes with the
            package: ``"default"``, of English, or ``"multilingual"``; None: from nothing;
            ``"auto"``: ``"default"``, or with ``config`` from nothing. An encoder without features
            of character n-grams gets 1,024 of them.
        config: Fields of :class:`pqrnn_native.PQRNNConfig` that are to differ from the default
            shape, for example ``{"num_layers": 3, "projection": {"feature_size": 1024}}``; not with
            the encoder of ``init``, whose shape it is.
        settings: Fields of :class:`pqrnn_native.train.TrainSettings` that are to differ from its
            defaults, for example ``{"dropout": 0.3}``.
        threshold: Probability from which on :meth:`predict` gives a label, where there may be
            several.
        random_state: Seed of everything random; None: another one each time.
        n_jobs: Upper limit of threads; None: torch's own choice in ``fit``, all CPUs in
            prediction; -1: all CPUs.
        verbose: Show a progress bar while training.

    Attributes:
        classes_: ``[labels]``, sorted; with an indicator matrix the numbers of its columns.
        model_: the trained :class:`pqrnn_native.Classifier`, in 8 bits; ``model_.save(path)``
            writes it for :func:`pqrnn_native.load`. Its class names are ``str(label)``.
    """

    def __init__(
        self,
        *,
        epochs: float | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        validation_fraction: float | None = None,
        init: str | os.PathLike[str] | None = "auto",
        config: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        threshold: float = 0.5,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.init = init
        self.config = config
        self.settings = settings
        self.threshold = threshold
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = _text_tags(super().__sklearn_tags__())
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: Any, y: Any) -> PQRNNClassifier:
        """Train on ``n`` texts.

        Args:
            X: ``n`` texts, at least 2.
            y: ``[n]`` labels of any type that NumPy can sort; or an indicator matrix
                ``[n, labels]`` of 0 and 1 for several labels a text.

        Raises:
            TypeError: ``X`` holds something else than texts, or a parameter is of the wrong type.
            ValueError: ``X`` is not one-dimensional, ``X`` and ``y`` do not fit together, or a
                parameter is out of range.
            OSError: ``init`` cannot be read.
            FloatingPointError: The loss is not finite.
            ModuleNotFoundError: torch is not installed.
        """
        require("torch", extra="train")
        from ..train import Example, Examples

        texts = _texts(X)
        classes, chosen = _targets(y, len(texts))
        several = chosen.dtype == bool
        if len(texts) < 2:
            raise ValueError(f"X must hold at least 2 texts, got n_samples={len(texts)}")
        names = [str(label) for label in classes.tolist()]
        if len(set(names)) < len(names):
            names = [str(column) for column in range(len(names))]
        rows = [
            Example(
                text, labels=tuple(names[k] for k in (np.flatnonzero(own) if several else [own]))
            )
            for text, own in zip(texts, chosen, strict=True)
        ]
        seed = int(check_random_state(self.random_state).randint(2**31))
        rows, held_out = self._divided(rows, seed)
        train, dev = (Examples("classify", part, multi_label=several) for part in (rows, held_out))
        self.model_ = self._trained(train, dev, self._shape(names, several), seed)
        self.classes_ = classes
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """Probability of each class, float32 ``[n, labels]`` in the order of ``classes_``.

        Rows sum to 1 unless there may be several labels.

        Raises:
            TypeError: ``X`` holds something else than texts.
            ValueError: ``X`` is not one-dimensional.
        """
        check_is_fitted(self)
        return self.model_.predict_proba(_texts(X), threads=_threads(self.n_jobs))

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most probable label of each text ``[n]``.

        With several labels an indicator matrix int64 ``[n, labels]`` of those whose probability is
        at least ``threshold``. Raises what :meth:`predict_proba` does.
        """
        scores = self.predict_proba(X)
        if self.model_.config.multi_label:
            return (scores >= self.threshold).astype(np.int64)
        answers: npt.NDArray[Any] = self.classes_[scores.argmax(axis=1)]
        return answers

    def _divided(self, rows: list[Any], seed: int) -> tuple[list[Any], list[Any]]:
        """Rows to train on and rows to evaluate on; one that is trained on where all are."""
        share = self.validation_fraction
        if share is None:
            return rows, rows[:1]
        if not 0 < share < 1:
            raise ValueError(f"validation_fraction must be in (0, 1) or None, got {share!r}")
        train, held_out = train_test_split(rows, test_size=share, random_state=seed)
        return train, held_out

    def _shape(self, names: list[str], several: bool) -> PQRNNConfig:
        """What is trained: the default shape with changes, or that of the encoder to start from."""
        from ..train import default_config
        from ..train.fitting import encoder_shape

        changes = dict(self.config or {})
        init = self._start()
        if init is not None:
            if changes:
                raise ValueError(f"config must be None with init={init!r}, got {changes!r}")
            if not isinstance(init, str | os.PathLike):
                raise TypeError(f"init must be a path or None, got {init!r}")
            changes = encoder_shape(init, ngrams=_NGRAMS)
        return default_config("classify", labels=names, multi_label=several, **changes)

    def _start(self) -> str | os.PathLike[str] | None:
        if self.init == "auto":
            return None if self.config else "default"
        return self.init

    def _trained(self, train: Any, dev: Any, config: PQRNNConfig, seed: int) -> Classifier:
        from ..train import TrainSettings, fit

        given = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "threads": _threads(self.n_jobs),
            "evaluate_every": _NEVER if self.validation_fraction is None else None,
            "seed": seed,
        }
        named = {name: value for name, value in given.items() if value is not None}
        settings = TrainSettings(**{**named, **dict(self.settings or {})})
        with TemporaryDirectory(prefix="pqrnn-") as folder, _torch_untouched():
            result = fit(
                train, dev, out=Path(folder, "run"), config=config, settings=settings,
                init=self._start(), progress=bool(self.verbose), pictures=False,
            )  # fmt: skip
            path = result.path
            texts = [row.text for row in train.rows]
            texts = texts[:: -(-len(texts) // _CALIBRATED)]
            projection = Projection(**asdict(config.projection))
            # Without any token there is nothing that 8 bits could be fitted to.
            if config.precision == "float32" and any(map(projection.tokens, texts)):
                path = Path(folder, "int8.safetensors")
                quantise(result.path, texts, path)
            return Classifier(path.read_bytes())


class PQRNNVectorizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Sentence vectors of an encoder, as features for another estimator. Nothing is learned.

    Args:
        model: A :class:`pqrnn_native.Encoder`, or what :func:`pqrnn_native.load` takes: the path of
            a model file, or the name of an encoder that comes with the package.
        normalize: Scale vectors to length 1.
        batch_size: Texts that go through the network together; by default chosen by length.
        n_jobs: Upper limit of threads; None or -1: all CPUs.
        verbose: Show a progress bar.

    Attributes:
        encoder_: the encoder, after ``fit``; a pickle holds it, and needs no model file.
    """

    def __init__(
        self,
        model: Encoder | str | os.PathLike[str] = "default",
        *,
        normalize: bool = True,
        batch_size: int | None = None,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.normalize = normalize
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = _text_tags(super().__sklearn_tags__())
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []
        return tags

    def fit(self, X: Any = None, y: Any = None) -> PQRNNVectorizer:  # noqa: ARG002
        """Load the encoder; the texts are not looked at.

        Raises:
            TypeError: ``model`` is neither an encoder nor a path.
            ValueError: It is the path of a damaged file or of another kind of model.
            OSError: It cannot be read.
        """
        self.encoder_ = self._loaded()
        return self

    def transform(self, X: Any) -> FloatArray:
        """Sentence vectors of ``n`` texts: float32 ``[n, dim]``.

        Raises:
            TypeError: ``X`` holds something else than texts, or a parameter is of the wrong type.
            ValueError: ``X`` is not one-dimensional, or a parameter is out of range.
        """
        return self._encoder.encode(
            _texts(X),
            batch_size=self.batch_size,
            threads=_threads(self.n_jobs),
            normalize=self.normalize,
            progress=bool(self.verbose),
        )

    @property
    def _encoder(self) -> Encoder:
        return self.encoder_ if hasattr(self, "encoder_") else self._loaded()

    @property
    def _n_features_out(self) -> int:  # what get_feature_names_out counts by
        return self._encoder.dim

    def _loaded(self) -> Encoder:
        if isinstance(self.model, Encoder):
            return self.model
        if not isinstance(self.model, str | os.PathLike):
            raise TypeError(f"model must be an Encoder or a path, got {self.model!r}")
        found = load(self.model)
        if not isinstance(found, Encoder):
            raise ValueError(
                f"model must be an Encoder, {str(self.model)!r} is a {type(found).__name__}"
            )
        return found


def _text_tags(tags: Any) -> Any:
    tags.input_tags.string = True
    tags.input_tags.one_d_array = True
    tags.input_tags.two_d_array = False
    return tags


def _texts(X: Any) -> list[str]:
    """A column of texts as a list.

    Raises:
        TypeError: ``X`` is no sequence, or something in it is not a str.
        ValueError: ``X`` is one text, or is not one-dimensional.
    """
    if isinstance(X, str | bytes):
        raise ValueError(f"X must be a sequence of texts, got one text: {X!r:.80}")
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape) != 1:
        raise ValueError(
            f"X must be one-dimensional, a text each, got shape {shape}; "
            "of a table give one column, for example X[:, 0]"
        )
    if not hasattr(X, "__iter__"):
        raise TypeError(f"X must be a sequence of texts, got {X!r:.80}")
    texts = X.tolist() if hasattr(X, "tolist") else list(X)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"X must hold str alone, got {text!r:.80} in row {row}")
    return texts


def _targets(y: Any, rows: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Classes ``[labels]``, and each row's: int64 ``[n]``, or bool ``[n, labels]`` for several."""
    if y is None:
        raise ValueError("y must hold the labels: this classifier requires y to be passed")
    check_classification_targets(y)
    if type_of_target(y, input_name="y") == "multilabel-indicator":
        matrix = np.asarray(y.toarray() if hasattr(y, "toarray") else y).astype(bool)
        classes, chosen = np.arange(matrix.shape[1]), matrix
    else:
        classes, chosen = np.unique(column_or_1d(y, warn=True), return_inverse=True)
    if len(chosen) != rows:
        raise ValueError(f"y must have as many rows as X, {rows}, got {len(chosen)}")
    return classes, chosen


def _threads(n_jobs: int | None) -> int | None:
    """Upper limit of threads for scikit-learn's count of jobs."""
    if n_jobs is None or n_jobs > 0:
        return n_jobs
    if n_jobs == 0:
        raise ValueError("n_jobs must not be 0")
    return max(1, (os.cpu_count() or 1) + 1 + n_jobs)


@contextmanager
def _torch_untouched() -> Iterator[None]:
    """Give torch's number of threads and random state back as they were."""
    import torch

    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
