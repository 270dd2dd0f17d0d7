"""Teachers at work: fine-tuned encoders, and larger models of our own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from ... import Classifier
from ...tags import TagSet
from ..crf import crf_marginals
from ..devices import bfloat16_pays, find_device
from ..evaluate import load_trained
from ..learner import Predictor
from .folder import FACTS, read_folder
from .prediction import LabelTeacher, Prediction, probabilities
from .subwords import SubwordFeaturizer

__all__ = ["FineTunedTeacher", "ModelTeacher", "load_label_teacher"]


class FineTunedTeacher:
    """A teacher that :func:`.tuning.fine_tune` made.

    Args:
        folder: of it.
        device: of torch; None: a GPU if there is one.
        batch_size: texts at a time.

    Attributes:
        name: the folder's.
        task: ``"parse"``, ``"classify"`` or ``"tag"``.
        config: names its intents, labels and tags, and has the projection whose tokens are tagged;
            its shape means nothing.
        result: figures of the evaluation that chose its weights, metrics in per cent.
        predictor: gives logits instead of probabilities.

    Raises:
        FileNotFoundError: The folder holds no finished teacher.
        ValueError: It is damaged, or there is no such device.
    """

    def __init__(
        self, folder: str | Path, *, device: str | None = None, batch_size: int = 64
    ) -> None:
        found = read_folder(folder)
        self.name = Path(folder).name or str(folder)
        self.task, self.config, self.result = found.task, found.config, found.result
        place = find_device(device)
        projection = self.config.projection if self.config.slots else None
        self.predictor = Predictor(
            found.model.to(place),
            SubwordFeaturizer(found.tokenizer, projection, found.max_length),
            place,
            batch_size=batch_size,
            bfloat16=bfloat16_pays(place),
        )

    def __call__(self, texts: Sequence[str]) -> list[Prediction]:
        """Probabilities, in float64, of logits in float32."""
        found: dict[int, Prediction] = {}
        for rows, logits, offsets in self.predictor.predict(texts):
            sentence = np.zeros((len(rows), 0))
            if logits.sentence is not None:
                sentence = probabilities(logits.sentence, multi_label=self.config.multi_label)
            tags = np.zeros((0, 0)) if logits.tags is None else probabilities(logits.tags)
            for row, own, (start, end) in zip(
                rows.tolist(), sentence, pairwise(offsets.tolist()), strict=True
            ):
                found[row] = Prediction(own, tags[start:end])
        return [found[row] for row in range(len(texts))]


class ModelTeacher:
    """A parser, tagger or classifier of our own.

    A model with a CRF gives the marginals of its tags, which take into account what may follow
    what. The tags that an intent may have (``intent_tags``) play no part.

    Args:
        path: its run folder or model file.
        threads: upper limit of threads; None: all available cores.

    Raises:
        ValueError: The file is damaged, or its model neither parses nor classifies.
        OSError: It cannot be read.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        self.name, self._threads = str(path), threads
        self._model = load_trained(path)
        self.config = self._model.config

    def __call__(self, texts: Sequence[str]) -> list[Prediction]:
        """Probabilities."""
        model = self._model
        if isinstance(model, Classifier):
            rows = model.predict_proba(list(texts), threads=self._threads)
            return [Prediction(row, np.zeros((0, 0))) for row in rows]
        found = model.logits(list(texts), threads=self._threads)
        tags = [probabilities(each) for each in found.slots]
        if model.transitions is not None and texts:
            ends = np.cumsum([0, *map(len, tags)])
            every = crf_marginals(
                np.concatenate(found.slots), ends, model.transitions, TagSet(self.config.slots)
            )
            tags = [every[start:end] for start, end in pairwise(ends.tolist())]
        return [Prediction(*each) for each in zip(probabilities(found.intents), tags, strict=True)]


def load_label_teacher(
    path: str | Path, *, device: str | None = None, threads: int | None = None
) -> LabelTeacher:
    """A teacher by its path: a folder of ``pqrnn-native teach``, or a model or run of our own.

    Args:
        path: of it.
        device: of torch, for the former.
        threads: upper limit of threads, for the latter.

    Raises:
        FileNotFoundError: There is nothing of the kind.
        ValueError: It is damaged.
    """
    path = Path(path)
    if (path / FACTS).is_file():
        return FineTunedTeacher(path, device=device)
    if path.is_file() or (
        (path / "model.safetensors").is_file() and (path / "log.jsonl").is_file()
    ):
        return ModelTeacher(path, threads=threads)
    raise FileNotFoundError(
        f"teacher {str(path)!r} is neither a folder with {FACTS} nor a model file or its run folder"
    )
