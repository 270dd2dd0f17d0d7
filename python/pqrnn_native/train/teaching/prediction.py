"""What any teacher of labels says of a text, and who can be one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ...config import PQRNNConfig
from ..settings import Task

__all__ = ["LabelTeacher", "Prediction", "probabilities", "task_of_config"]

FloatArray = npt.NDArray[np.floating]


class Prediction(NamedTuple):
    """Probabilities for one text.

    Attributes:
        sentence: ``[intents]``, or ``[labels]`` of a classifier; ``[0]`` of a tagger.
        tags: ``[tokens, slots]`` of the tokens of ``Projection.spans``; ``[0, 0]`` of a classifier.
    """

    sentence: FloatArray
    tags: FloatArray


class LabelTeacher(Protocol):
    """What labelling needs of a teacher.

    Attributes:
        name: for messages.
        config: names the columns of its predictions, and the projection that makes its tokens.
    """

    name: str
    config: PQRNNConfig

    def __call__(self, texts: Sequence[str]) -> list[Prediction]:
        """What it says of each text."""
        ...


def probabilities(logits: Any, *, multi_label: bool = False) -> npt.NDArray[np.float64]:
    """Softmax of each row in float64, or of several labels the logistic function of each."""
    values = np.asarray(logits, np.float64)
    if multi_label:
        shares: npt.NDArray[np.float64] = 1 / (1 + np.exp(-values))
        return shares
    if not values.shape[-1]:
        return values
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    shares = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def task_of_config(config: PQRNNConfig) -> Task:
    """What a model with these names is for."""
    if config.task == "classification":
        return "classify"
    return "parse" if config.intents else "tag"
