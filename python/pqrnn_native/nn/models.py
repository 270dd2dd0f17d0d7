"""The pQRNN encoder with a head: sentence vectors, classes, or intents and slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..config import PQRNNConfig
from . import exact, quantised
from .encoder import (
    Array,
    PQRNNEncoder,
    export_linear,
    export_tensor,
    export_weight,
    load_linear,
    load_tensor,
    to_ragged,
)
from .products import dense

__all__ = ["PQRNNForClassification", "PQRNNForParsing", "PQRNNForSentenceEmbedding"]


class _Model(nn.Module):
    """An encoder with linear heads."""

    task: str

    def __init__(self, config: PQRNNConfig, dropout: float = 0.0) -> None:
        super().__init__()
        if config.task != self.task:
            raise ValueError(f"config.task must be {self.task!r}, got {config.task!r}")
        self.config = config
        self.encoder = PQRNNEncoder(config, dropout)

    def _linear(self, outputs: int, bias: bool = True) -> nn.Linear:
        linear = nn.Linear(self.encoder.width, outputs, bias)
        nn.init.xavier_uniform_(linear.weight)
        if bias:
            nn.init.zeros_(linear.bias)
        return linear

    def _heads(self) -> dict[str, nn.Linear]:
        """The heads by their names in model files."""
        return {"head": self.head}

    def _dense(self, linear: nn.Linear, x: Tensor) -> Tensor:
        return quantised.fake_linear(linear, x) if self._whole else dense(linear, x)

    @property
    def _whole(self) -> bool:
        return self.config.precision == "int8"

    def _exact(
        self, features: Tensor, offsets: Tensor, index: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        # On the CPU: exact sums of whole numbers in float64 are slow elsewhere, or not there.
        given = (each if each is None else each.cpu() for each in (features, offsets, index))
        outputs, slots = exact.forward(self.config, self.export_tensors(), *given)
        device = features.device
        return outputs.to(device), None if slots is None else slots.to(device)

    def export_tensors(self) -> dict[str, npt.NDArray[Any]]:
        """All tensors under their names in model files, as :meth:`PQRNNEncoder.export_tensors`."""
        out = self.encoder.export_tensors()
        for name, linear in self._heads().items():
            out |= export_linear(linear, name, whole=self._whole)
        return out

    def load_tensors(self, tensors: Mapping[str, Array]) -> None:
        """The inverse of :meth:`export_tensors`, to go on training from a model file.

        Raises:
            ValueError: A tensor is missing or of the wrong shape.
        """
        self.encoder.load_tensors(tensors)
        for name, linear in self._heads().items():
            load_linear(linear, tensors, name)


class PQRNNForSentenceEmbedding(_Model):
    """One vector per text.

    Args:
        config: With ``task="embedding"``.
        dropout: As for :class:`PQRNNEncoder`.

    Raises:
        ValueError: Another task.
    """

    task = "embedding"

    def __init__(self, config: PQRNNConfig, dropout: float = 0.0) -> None:
        super().__init__(config, dropout)
        self.head = self._linear(config.output_size)

    def forward(
        self,
        features: Tensor,
        offsets: Tensor | None = None,
        *,
        lengths: Tensor | None = None,
        index: Tensor | None = None,
        normalize: bool = True,
    ) -> Tensor:
        """Sentence vectors [n, output_size]; zero for a text without tokens.

        Args:
            features: Ragged [tokens, F] with ``offsets``, or padded [n, T, F]; any real dtype.
            offsets: int64 [n + 1] of ragged features.
            lengths: Integers [n] of padded features; all of T when absent.
            index: With ``offsets``: int64 [tokens], the row of ``features`` of each token.
            normalize: Scale each vector to length 1.

        Raises:
            ValueError: A shape does not fit, or lengths or offsets are out of range.
        """
        features, offsets = to_ragged(features, offsets, lengths)
        if self._whole and not self.training:
            vectors = self._exact(features, offsets, index)[0]
        else:
            pooled, _ = self.encoder(features, offsets, index)
            vectors = self._dense(self.head, pooled) * (offsets.diff() > 0).unsqueeze(1)
        return nn.functional.normalize(vectors, dim=-1) if normalize else vectors


class PQRNNForClassification(_Model):
    """One logit per label and text.

    Args:
        config: With ``task="classification"``.
        dropout: As for :class:`PQRNNEncoder`.

    Raises:
        ValueError: Another task.
    """

    task = "classification"

    def __init__(self, config: PQRNNConfig, dropout: float = 0.0) -> None:
        super().__init__(config, dropout)
        self.head = self._linear(len(config.labels))

    def forward(
        self,
        features: Tensor,
        offsets: Tensor | None = None,
        *,
        lengths: Tensor | None = None,
        index: Tensor | None = None,
    ) -> Tensor:
        """Logits [n, labels]; arguments and errors as :class:`PQRNNForSentenceEmbedding`."""
        features, offsets = to_ragged(features, offsets, lengths)
        if self._whole and not self.training:
            return self._exact(features, offsets, index)[0]
        return self._dense(self.head, self.encoder(features, offsets, index)[0])


class PQRNNForParsing(_Model):
    """Logits of intents per text and of slot tags per token.

    Slot logits are linear in the states of the token, and with ``config.slot_context`` also in the
    pooled vector of its text. There is no head for intents when the configuration names none.

    Attributes:
        transitions: With ``config.crf`` the parameter [slots, slots] of scores for following a tag
            (row) by another (column), at first zero; else None. The logits know nothing of it.

    Args:
        config: With ``task="parsing"``.
        dropout: As for :class:`PQRNNEncoder`.

    Raises:
        ValueError: Another task.
    """

    task = "parsing"

    def __init__(self, config: PQRNNConfig, dropout: float = 0.0) -> None:
        super().__init__(config, dropout)
        self.intent = self._linear(len(config.intents)) if config.intents else None
        self.slots = self._linear(len(config.slots))
        self.context = self._linear(len(config.slots), bias=False) if config.slot_context else None
        self.transitions: nn.Parameter | None = None
        if config.crf:
            self.transitions = nn.Parameter(torch.zeros(len(config.slots), len(config.slots)))

    def _heads(self) -> dict[str, nn.Linear]:
        heads = {"intent": self.intent, "slots": self.slots, "slots.context": self.context}
        return {name: linear for name, linear in heads.items() if linear is not None}

    def export_tensors(self) -> dict[str, npt.NDArray[Any]]:
        """All tensors under their names in model files, as :meth:`PQRNNEncoder.export_tensors`."""
        out = super().export_tensors()
        if self.transitions is not None:
            if self._whole:
                out |= export_weight(self.transitions, "slots.transitions")
            else:
                out["slots.transitions"] = export_tensor(self.transitions)
        return out

    def scores(self) -> Tensor | None:
        """``transitions`` as the model uses them: with ``precision="int8"`` on their grid."""
        if self.transitions is None or not self._whole:
            return self.transitions
        whole, scale = quantised.whole_weight(self.transitions, (1,))
        return whole * scale

    def load_tensors(self, tensors: Mapping[str, Array]) -> None:
        """The inverse of :meth:`export_tensors`, to go on training from a model file.

        Raises:
            ValueError: A tensor is missing or of the wrong shape.
        """
        super().load_tensors(tensors)
        if self.transitions is not None:
            load_tensor(self.transitions, tensors, "slots.transitions")

    def forward(
        self,
        features: Tensor,
        offsets: Tensor | None = None,
        *,
        lengths: Tensor | None = None,
        index: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Intent logits [n, intents] and slot logits.

        Slot logits are [tokens, slots] for ragged features; for padded ones [n, T, slots], zero in
        the padding. Arguments and errors as :class:`PQRNNForSentenceEmbedding`.
        """
        rows, ends = to_ragged(features, offsets, lengths)
        if self._whole and not self.training:
            intents, tags = self._exact(rows, ends, index)
            assert tags is not None
            slots = tags
        else:
            pooled, states = self.encoder(rows, ends, index)
            slots = self._dense(self.slots, states)
            if self.context is not None:
                terms = self._dense(self.context, pooled)
                slots = slots + terms.repeat_interleave(ends.diff(), 0, output_size=len(slots))
            intents = pooled[:, :0] if self.intent is None else self._dense(self.intent, pooled)
        if offsets is None:
            count, steps, _ = features.shape
            valid = torch.arange(steps) < ends.diff().unsqueeze(1)
            padded = slots.new_zeros(count, steps, slots.shape[1])
            slots = padded.index_put((valid,), slots)
        return intents, slots
