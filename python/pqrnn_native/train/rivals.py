"""Rivals of the pQRNN for the same loop: a bidirectional LSTM and a small transformer.

Both have the pQRNN's heads and attention pooling, and as many weights as a budget allows. They read
the same projection through a bottleneck, or a learned embedding of the most frequent words. They
are for comparison: the engine does not run them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..config import PQRNNConfig, ProjectionConfig
from ..nn import functional, portable
from ..nn.encoder import normalize_rows
from ..nn.products import dense
from .inputs import Featurizer, Inputs, ProjectedInputs, WordwiseInputs, plain_projection
from .learner import Learner
from .processes import Processes
from .settings import TrainSettings

RivalName = Literal["lstm", "transformer"]

BUDGET = 2_000_000  # weights
EMBEDDING = 64  # width of a word's vector
_WORD_BUDGET = 1_000_000  # of these, at most so many for words
_LSTM_LAYERS, _TRANSFORMER_LAYERS, _HEADS = 2, 4, 4
_UNKNOWN = 0


class WordInputs(WordwiseInputs):
    """Numbers of words; 0 stands for all that are not in the vocabulary, and for dropped ones.

    Args:
        config: splits and lower-cases the texts.
        settings: distortion and token dropout while training.
        words: the vocabulary, number 1 first.
    """

    def __init__(
        self, config: ProjectionConfig, settings: TrainSettings, words: Iterable[bytes]
    ) -> None:
        super().__init__(config, settings)
        self._number = {word: number for number, word in enumerate(words, start=1)}

    def _inputs(self, texts: Sequence[Sequence[bytes]]) -> Inputs:
        numbers = [self._number.get(word, _UNKNOWN) for words in texts for word in words]
        features, index = np.unique(np.array(numbers, dtype=np.int64), return_inverse=True)
        offsets = np.concatenate(([0], np.cumsum([len(words) for words in texts])))
        return Inputs(*(torch.from_numpy(a.astype(np.int64)) for a in (features, index, offsets)))


def vocabulary(texts: Iterable[str], config: ProjectionConfig) -> list[bytes]:
    """The most frequent words that occur at least twice, as many as the budget has room for."""
    projection = plain_projection(config)
    counts = Counter(word for text in texts for word in projection.words(text))
    frequent = sorted((w for w, n in counts.items() if n > 1), key=lambda w: (-counts[w], w))
    return frequent[: _WORD_BUDGET // EMBEDDING - 1]


class _ProjectedWords(nn.Module):
    """The pQRNN's bottleneck: ``relu(BN(x W^T))``."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, width, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.synchronised = False

    def synchronise(self) -> None:
        self.synchronised = True

    def forward(self, features: Tensor, index: Tensor) -> Tensor:
        rows = dense(self.linear, features.to(self.linear.weight.dtype))[index]
        if self.training and self.synchronised:
            return torch.relu(normalize_rows(self.norm, rows))
        return torch.relu(self.norm(rows))


class _EmbeddedWords(nn.Module):
    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words + 1, EMBEDDING)
        self.linear = nn.Linear(EMBEDDING, width)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING**-0.5)

    def forward(self, features: Tensor, index: Tensor) -> Tensor:
        return dense(self.linear, self.embedding(features))[index]


class _LSTM(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            width, width, _LSTM_LAYERS, batch_first=True, bidirectional=True, dropout=dropout
        )
        self.width = 2 * width

    def forward(self, padded: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(
            padded, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        # Under autocast torch takes a slow path through a packed sequence.
        with torch.autocast(padded.device.type, enabled=False):
            out, _ = self.lstm(packed.float() if padded.dtype == torch.bfloat16 else packed)
        return nn.utils.rnn.pad_packed_sequence(
            out, batch_first=True, total_length=padded.shape[1]
        )[0]


class _Transformer(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            width, _HEADS, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, _TRANSFORMER_LAYERS, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.width = width

    def forward(self, padded: Tensor, lengths: Tensor) -> Tensor:
        steps = torch.arange(padded.shape[1], device=padded.device)
        padding = steps >= lengths.unsqueeze(1)
        return self.layers(padded + _positions(steps, self.width), src_key_padding_mask=padding)


def _positions(steps: Tensor, width: int) -> Tensor:
    """Sines and cosines of geometrically spaced wavelengths (Vaswani et al. 2017, section 3.5)."""
    frequencies = torch.exp(
        torch.arange(0, width, 2, device=steps.device) * (-np.log(10_000.0) / width)
    )
    angles = steps.unsqueeze(1) * frequencies
    return torch.stack((angles.sin(), angles.cos()), 2).flatten(1)


class Rival(nn.Module):
    """A rival with the heads of a configuration.

    Args:
        kind: ``"lstm"`` (2 layers) or ``"transformer"`` (4 layers, 4 heads).
        config: names the intents, labels and tags; heads and the projection are as it says.
        width: of an LSTM direction's state, or of the transformer; a multiple of 8.
        words: size of the vocabulary; None: the projection is read instead.
        dropout: on the inputs and within the layers.
    """

    def __init__(
        self, kind: RivalName, config: PQRNNConfig, width: int, words: int | None, dropout: float
    ) -> None:
        super().__init__()
        self.inputs: nn.Module
        if words is None:
            self.inputs = _ProjectedWords(config.projection.feature_size, width)
        else:
            self.inputs = _EmbeddedWords(words, width)
        self.dropout = dropout
        self.body: Any = (_LSTM if kind == "lstm" else _Transformer)(width, dropout)
        heads = config.attention_heads
        self.attention = nn.Linear(self.body.width, heads if self.body.width % heads == 0 else 1)
        names = config.labels or config.intents
        self.sentence = nn.Linear(self.body.width, len(names)) if names else None
        tags = len(config.slots)
        self.tags = nn.Linear(self.body.width, tags) if tags else None
        self.context = nn.Linear(self.body.width, tags, bias=False) if config.slot_context else None
        self.transitions = nn.Parameter(torch.zeros(tags, tags)) if config.crf else None

    def forward(
        self, features: Tensor, offsets: Tensor, *, index: Tensor
    ) -> Tensor | tuple[Tensor, Tensor]:
        """As a pQRNN's: logits of labels [n, labels], or of intents and of tags [tokens, tags]."""
        rows = functional.dropout(self.inputs(features, index), self.dropout, self.training)
        lengths = offsets.diff()
        steps = torch.arange(max(1, int(lengths.max())), device=rows.device)
        valid = steps < lengths.unsqueeze(1)
        padded = rows.new_zeros(*valid.shape, rows.shape[1]).index_put((valid,), rows)
        # A text without tokens has one of zeros, which is then left out again.
        states = self.body(padded, lengths.clamp(min=1))[valid]
        states = functional.dropout(states, self.dropout, self.training)
        pooled = portable.attend(states, dense(self.attention, states).to(states.dtype), offsets)
        sentence = pooled[:, :0] if self.sentence is None else self.sentence(pooled)
        if self.tags is None:
            return sentence
        tags = dense(self.tags, states)
        if self.context is not None:
            terms = self.context(pooled)
            tags = tags + terms.repeat_interleave(lengths, 0, output_size=len(tags))
        return sentence, tags


def widest(make: Callable[[int], nn.Module], budget: int) -> int:
    """The largest width, a multiple of 8, with which a model has at most ``budget`` weights.

    Raises:
        ValueError: Not even a width of 8 is small enough.
    """
    width = 0
    while True:
        with torch.device("meta"):
            weights = sum(parameter.numel() for parameter in make(width + 8).parameters())
        if weights > budget:
            break
        width += 8
    if not width:
        raise ValueError(f"budget of {budget} weights has no room for the heads and inputs")
    return width


def rival(
    kind: RivalName,
    features: Literal["projection", "word"],
    config: PQRNNConfig,
    settings: TrainSettings,
    processes: Processes,
    device: torch.device,
    texts: Sequence[str],
) -> Learner:
    """A learner of a rival within the budget.

    Args:
        kind: which.
        features: ``"projection"``, or ``"word"``: an embedding of the words of ``texts``.
        config: names, and the projection (which splits texts into words for both).
        settings: resolved.
        processes: of the run.
        device: where it runs.
        texts: the training texts.
    """
    known = vocabulary(texts, config.projection) if features == "word" else None
    words = None if known is None else len(known)

    def make(width: int) -> Rival:
        return Rival(kind, config, width, words, settings.dropout or 0.0)

    model = make(widest(make, BUDGET))
    featurizer: Featurizer = ProjectedInputs(config.projection, settings)
    if known is not None:
        featurizer = WordInputs(config.projection, settings, known)
    return Learner(model, featurizer, config, settings, processes, device)
