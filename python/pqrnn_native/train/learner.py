"""A model in training: text in, logits out, with its averaged twin and its optimiser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .. import nn
from ..config import PQRNNConfig
from .inputs import Featurizer, Inputs, ProjectedInputs
from .optim import Averaged, adamw
from .processes import Processes
from .settings import TrainSettings


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

    def forward(self, inputs: Inputs) -> Logits:
        out = self.model(inputs.features, inputs.offsets, index=inputs.index)
        sentence, tags = out if isinstance(out, tuple) else (out, None)
        if sentence.shape[1] == 0:  # a tagger
            sentence = None
        scores = getattr(self.model, "scores", None)
        transitions = scores() if scores else getattr(self.model, "transitions", None)
        if transitions is not None:
            transitions = transitions.clone()  # an output, not the parameter itself
        parts = (sentence, tags, transitions)
        return Logits(*(None if part is None else part.float() for part in parts))


class Learner:
    """A model, its average, its optimiser and its inputs.

    Args:
        model: called as ``model(features, offsets, index=index)``; returns logits of the sentence,
            or a pair of those and the tags' logits. With a CRF over tags it has ``transitions``.
        featurizer: what turns texts into its inputs.
        config: names its labels, intents and tags.
        settings: resolved.
        processes: gradients are averaged over them.
        device: where it runs.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        featurizer: Featurizer,
        config: PQRNNConfig,
        settings: TrainSettings,
        processes: Processes,
        device: torch.device,
    ) -> None:
        self.config, self.settings, self.featurizer = config, settings, featurizer
        self.device = device
        self.averaged = Averaged(model.to(self.device), settings.ema)
        self.optimizer = adamw(model, settings.learning_rate, settings.weight_decay)
        self._speaking: torch.nn.Module = _Speaking(model)
        self._average = _Speaking(self.averaged.average)
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
        self, texts: Sequence[str], batch_size: int = 256
    ) -> Iterator[tuple[npt.NDArray[np.int64], Logits, npt.NDArray[np.int64]]]:
        """Logits of the averaged model in float32, batch by batch in order of length.

        Yields:
            The numbers of the batch's texts, their logits on the CPU, and their offsets.
        """
        self.averaged.average.eval()
        order = np.argsort([len(text) for text in texts], kind="stable")
        with torch.inference_mode():
            for start in range(0, len(texts), batch_size):
                rows = order[start : start + batch_size]
                inputs = self.featurizer([texts[row] for row in rows])
                out = self._average(inputs.to(self.device))
                on_cpu = Logits(*(None if part is None else part.cpu() for part in out))
                yield rows, on_cpu, inputs.offsets.numpy()

    def state(self) -> dict[str, Any]:
        """Everything a checkpoint needs of it."""
        return {**self.averaged.state(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.averaged.load(state)
        self.optimizer.load_state_dict(state["optimizer"])


def projected(
    config: PQRNNConfig, settings: TrainSettings, processes: Processes, device: torch.device
) -> Learner:
    """A learner of the pQRNN itself."""
    model = nn.build(config, dropout=settings.dropout or 0.0)
    featurizer = ProjectedInputs(config.projection, settings)
    return Learner(model, featurizer, config, settings, processes, device)
