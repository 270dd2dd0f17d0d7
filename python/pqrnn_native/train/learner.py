"""A model in training: text in, logits out, with its averaged twin and its optimiser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .. import nn
from ..config import PQRNNConfig
from .inputs import Featurizer, ModelInputs, ProjectedInputs
from .optim import Averaged, adamw
from .processes import Processes
from .settings import TrainSettings

# Of what a trained encoder knows of words, most are not in the rows of a new task; at the full rate
# those that are learn the rows by heart, and the others stay behind.
_STARTED_RATE = 1 / 8


class Logits(NamedTuple):
    """What a model says.

    Attributes:
        sentence: float32 ``[n, intents or labels]``; None for a tagger.
        tags: float32 ``[tokens, tags]``; None for a classifier.
        transitions: float32 ``[tags, tags]``, the score of following a tag (row) by another
            (column); None without a CRF.
    """

    sentence: Tensor | None
    tags: Tensor | None
    transitions: Tensor | None = None


class _Speaking(torch.nn.Module):
    """A model that says all that its loss needs.

    Transitions are a parameter and no function of a text; they count as an output here, so that
    DistributedDataParallel sees that they are used.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: ModelInputs) -> Logits:
        out = inputs.through(self.model)
        sentence, tags = out if isinstance(out, tuple) else (out, None)
        if sentence.shape[1] == 0:  # a tagger
            sentence = None
        scores = getattr(self.model, "scores", None)
        transitions = scores() if scores else getattr(self.model, "transitions", None)
        if transitions is not None:
            transitions = transitions.clone()  # an output, not the parameter itself
        parts = (sentence, tags, transitions)
        return Logits(*(None if part is None else part.float() for part in parts))


class Predictor:
    """A model that says what it thinks of texts, without learning.

    Args:
        model: as for :class:`Learner`.
        featurizer: what turns texts into its inputs.
        device: where the model is.
        batch_size: texts at a time.
        bfloat16: matrix products in bfloat16 (autocast).
    """

    def __init__(
        self,
        model: torch.nn.Module,
        featurizer: Featurizer,
        device: torch.device,
        *,
        batch_size: int = 256,
        bfloat16: bool = False,
    ) -> None:
        self.model, self.featurizer, self.device = model, featurizer, device
        self.batch_size, self.bfloat16 = batch_size, bfloat16
        self._speaking = _Speaking(model)

    def predict(
        self, texts: Sequence[str]
    ) -> Iterator[tuple[npt.NDArray[np.int64], Logits, npt.NDArray[np.int64]]]:
        """Logits, batch by batch in order of length.

        Yields:
            The numbers of the batch's texts, their logits in float32 on the CPU, and their offsets.
        """
        order = np.argsort([len(text) for text in texts], kind="stable")
        for start in range(0, len(texts), self.batch_size):
            rows = order[start : start + self.batch_size]
            inputs = self.featurizer([texts[row] for row in rows])
            self.model.eval()
            kind = self.device.type
            with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, self.bfloat16):
                out = self._speaking(inputs.to(self.device))
            on_cpu = Logits(*(None if part is None else part.cpu() for part in out))
            yield rows, on_cpu, inputs.offsets.numpy()


class Learner:
    """A model, its average, its optimiser and its inputs.

    Args:
        model: what the inputs go through; says logits of the sentence, or a pair of those and the
            tags' logits. With a CRF over tags it has ``transitions``.
        featurizer: what turns texts into its inputs.
        config: names its labels, intents and tags.
        settings: resolved.
        processes: gradients are averaged over them.
        device: where it runs.
        factors: of the learning rate, see :func:`.optim.adamw`.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        featurizer: Featurizer,
        config: PQRNNConfig,
        settings: TrainSettings,
        processes: Processes,
        device: torch.device,
        factors: Mapping[str, float] | None = None,
    ) -> None:
        self.config, self.settings, self.featurizer = config, settings, featurizer
        self.device = device
        self.averaged = Averaged(model.to(self.device), settings.ema)
        self.optimizer = adamw(model, settings.learning_rate, settings.weight_decay, factors)
        self._speaking: torch.nn.Module = _Speaking(model)
        self._predictor = Predictor(self.averaged.average, featurizer, device)
        if processes.world > 1:
            for module in model.modules():
                if hasattr(module, "synchronise"):
                    module.synchronise()
            self._speaking = torch.nn.parallel.DistributedDataParallel(
                self._speaking,
                # Nothing asks a pure tagger's attention for a vector of the text.
                find_unused_parameters=not (config.labels or config.intents),
            )

    def train(self, texts: Sequence[str], seed: int) -> Logits:
        """Logits of augmented texts, with gradients."""
        inputs = self.featurizer.training(texts, seed).to(self.device)
        self.averaged.model.train()
        half = bool(self.settings.bfloat16)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            logits: Logits = self._speaking(inputs)
        return logits

    def predict(
        self, texts: Sequence[str]
    ) -> Iterator[tuple[npt.NDArray[np.int64], Logits, npt.NDArray[np.int64]]]:
        """What the averaged model says in float32, see :meth:`Predictor.predict`."""
        return self._predictor.predict(texts)

    def state(self) -> dict[str, Any]:
        """Everything a checkpoint needs of it."""
        return {**self.averaged.state(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.averaged.load(state)
        self.optimizer.load_state_dict(state["optimizer"])


def projected(
    config: PQRNNConfig,
    settings: TrainSettings,
    processes: Processes,
    device: torch.device,
    *,
    started: bool = False,
) -> Learner:
    """A learner of the pQRNN itself, whose bottleneck learns slowly if ``started`` from another."""
    model = nn.build(config, dropout=settings.dropout or 0.0)
    featurizer = ProjectedInputs(config.projection, settings)
    factors = {"encoder.bottleneck": _STARTED_RATE} if started else None
    return Learner(model, featurizer, config, settings, processes, device, factors)
