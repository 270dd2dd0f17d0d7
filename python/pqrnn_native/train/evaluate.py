"""Trained models at work, without torch: how good they are, and what they say of texts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

from .. import Classifier, Parser, load
from .metrics import Report
from .readers import Examples, Task
from .reports import report

Model: TypeAlias = Parser | Classifier


def load_trained(path: str | os.PathLike[str]) -> Model:
    """The model of a run folder, or of a model file.

    Raises:
        ValueError: The file is damaged, or its model neither parses nor classifies.
        OSError: It cannot be read.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        path = os.path.join(path, "model.safetensors")
    model = load(path)
    if not isinstance(model, Parser | Classifier):
        raise ValueError(f"{path!r} is a {type(model).__name__}, not a parser or classifier")
    return model


def task_of(model: Model) -> Task:
    """What a model was trained for."""
    if isinstance(model, Classifier):
        return "classify"
    return "parse" if model.config.intents else "tag"


def evaluate(
    model: Model | str | os.PathLike[str],
    examples: Examples,
    *,
    threads: int | None = None,
    resamples: int = 1000,
) -> Report:
    """Metrics of a model on labelled examples.

    Args:
        model: a parser or classifier, or the path of its run folder or file.
        examples: of a task that the model is for.
        threads: upper limit of threads; None: all available cores.
        resamples: of the bootstrap intervals; 0: none.

    Raises:
        ValueError: The examples are for another task.
    """
    if not isinstance(model, Parser | Classifier):
        model = load_trained(model)
    if (examples.task == "classify") != isinstance(model, Classifier):
        raise ValueError(
            f"examples are for task {examples.task!r}, which a {type(model).__name__} is not for"
        )
    texts = [example.text for example in examples]
    answers: list[Any]
    if isinstance(model, Classifier):
        found = model.predict(texts, threads=threads)
        answers = found if model.config.multi_label else [(label,) for label in found]
    else:
        parses = model.parse(texts, threads=threads)
        intended = examples.task == "parse"
        answers = [(parse.intent if intended else "", parse.slots) for parse in parses]
    return report(examples, answers, resamples=resamples)


def predict(
    model: Model, texts: Sequence[str], *, threads: int | None = None
) -> list[dict[str, Any]]:
    """What a model says of texts, as plain values for JSON.

    Returns:
        For each text of a parser ``text``, ``intent`` and ``score`` (unless it is a pure tagger)
        and ``slots``; of a classifier ``text``, ``label`` (``labels`` if there may be several) and
        ``scores`` by label.
    """
    if isinstance(model, Parser):
        rows: list[dict[str, Any]] = []
        for text, parse in zip(texts, model.parse(texts, threads=threads), strict=True):
            intent = {"intent": parse.intent, "score": round(parse.score, 6)}
            slots = [slot._asdict() for slot in parse.slots]
            rows.append({"text": text, **(intent if model.config.intents else {}), "slots": slots})
        return rows
    name = "labels" if model.config.multi_label else "label"
    chosen = model.predict(texts, threads=threads)
    scores = model.predict_proba(texts, threads=threads)
    return [
        {
            "text": text,
            name: answer,
            "scores": {k: round(float(v), 6) for k, v in zip(model.classes, row, strict=True)},
        }
        for text, answer, row in zip(texts, chosen, scores, strict=True)
    ]
