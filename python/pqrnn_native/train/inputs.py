"""From texts to what a model's first layer takes, computed anew for every batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..config import ProjectionConfig
from ..nn.products import sparse_features
from ..projection import Projection
from .settings import TrainSettings


class ModelInputs(Protocol):
    """The texts of a batch as some model takes them."""

    @property
    def offsets(self) -> Tensor:
        """int64 ``[n + 1]``; text s has the tokens ``offsets[s]:offsets[s + 1]``."""
        ...

    def to(self, device: torch.device) -> ModelInputs:
        """The same on a device."""
        ...

    def through(self, model: torch.nn.Module) -> Tensor | tuple[Tensor, Tensor]:
        """What the model says: logits of the texts, or a pair of these and the tokens'."""
        ...


class Inputs(NamedTuple):
    """The tokens of a batch.

    Attributes:
        features: int8 ``[distinct, F]``, or what another first layer takes, one row per entry.
        index: int64 ``[tokens]``, the row of ``features`` of each token.
        offsets: int64 ``[n + 1]``; text s has the tokens ``offsets[s]:offsets[s + 1]``.
    """

    features: Tensor
    index: Tensor
    offsets: Tensor

    def to(self, device: torch.device) -> Inputs:
        """The same on a device."""
        return Inputs(*(part.to(device) for part in self))

    def through(self, model: torch.nn.Module) -> Tensor | tuple[Tensor, Tensor]:
        """``model(features, offsets, index=index)``."""
        said: Tensor | tuple[Tensor, Tensor] = model(self.features, self.offsets, index=self.index)
        return said


class Featurizer(Protocol):
    """Makes inputs of texts."""

    def __call__(self, texts: Sequence[str]) -> ModelInputs:
        """As they are, for evaluation."""
        ...

    def training(self, texts: Sequence[str], seed: int) -> ModelInputs:
        """Cut and augmented; what happens to a text follows from the seed and the text."""
        ...


def plain_projection(config: ProjectionConfig) -> Projection:
    """The projection as a model in use has it, without distortion."""
    return Projection(**asdict(replace(config, distortion=0.0)))


def training_projection(config: ProjectionConfig, settings: TrainSettings) -> Projection:
    """The projection with the distortion and the token limit of the settings."""
    changed = {**asdict(config), "distortion": settings.distortion}
    if settings.max_tokens and not 0 < config.max_tokens < settings.max_tokens:
        changed["max_tokens"] = settings.max_tokens
    return Projection(**changed)


def distinct_rows(projection: Projection, texts: Sequence[str], seed: int | None = None) -> Inputs:
    """The features of texts, each distinct row once; as a sparse matrix where most are zero."""
    config = projection.config
    if config.token_hashes and not config.has_extras:
        nonzero, index, offsets = projection.ragged_nonzero(texts, seed=seed)
        starts, columns, signs = (torch.from_numpy(array) for array in nonzero)
        features = sparse_features(starts, columns, signs, config.feature_size)
    else:
        held = config.novelty_bits == 0 and config.doc_size_levels == 0
        dtype = np.int8 if held else np.float32
        rows, index, offsets = projection.ragged_unique(texts, dtype=dtype, seed=seed)
        features = torch.from_numpy(rows)
    return Inputs(features, torch.from_numpy(index), torch.from_numpy(offsets))


class ProjectedInputs:
    """Ternary features, each distinct word once.

    Distortion keeps the number of tokens: a word of which nothing is left is still a word.
    """

    def __init__(self, config: ProjectionConfig, settings: TrainSettings) -> None:
        self._plain = plain_projection(config)
        self._training = training_projection(config, settings)
        self._token_dropout = settings.token_dropout

    def __call__(self, texts: Sequence[str]) -> Inputs:
        return self._inputs(self._plain, texts, None)

    def training(self, texts: Sequence[str], seed: int) -> Inputs:
        features, index, offsets = self._inputs(self._training, texts, seed)
        return Inputs(*drop_tokens(features, index, self._token_dropout, seed), offsets)

    def _inputs(self, projection: Projection, texts: Sequence[str], seed: int | None) -> Inputs:
        return distinct_rows(projection, texts, seed)


class WordwiseInputs:
    """What a subclass makes of the words of texts.

    Args:
        config: splits and lower-cases the texts.
        settings: distortion and token dropout while training.
    """

    def __init__(self, config: ProjectionConfig, settings: TrainSettings) -> None:
        self._plain = plain_projection(config)
        self._training = training_projection(config, settings)
        self._token_dropout = settings.token_dropout

    def __call__(self, texts: Sequence[str]) -> Inputs:
        return self._inputs([self._plain.words(text) for text in texts])

    def training(self, texts: Sequence[str], seed: int) -> Inputs:
        inputs = self._inputs([self._training.words(text, seed=seed) for text in texts])
        dropped = drop_tokens(inputs.features, inputs.index, self._token_dropout, seed)
        return Inputs(*dropped, inputs.offsets)

    def _inputs(self, texts: Sequence[Sequence[bytes]]) -> Inputs:
        raise NotImplementedError


def drop_tokens(
    features: Tensor, index: Tensor, probability: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Show each token without any features with that probability.

    The features get one more row, of zeros, for the dropped tokens to point to.
    """
    if not probability:
        return features, index
    dropped = np.random.default_rng(seed).random(len(index)) < probability
    nothing = features.new_zeros(1, *features.shape[1:])
    return (
        torch.cat((features, nothing)),
        index.masked_fill(torch.from_numpy(dropped), len(features)),
    )
