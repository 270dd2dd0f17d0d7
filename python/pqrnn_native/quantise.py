"""Post-training quantisation: a float model and some texts to a model in 8 bits. No torch."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core as native
from .checkpoint import StorageType, load_tensors, read_metadata, read_model, save_model
from .config import PQRNNConfig
from .projection import Projection

__all__ = ["calibrate", "quantise"]

FloatArray = npt.NDArray[np.float32]

_TOKENS = 512  # of a text, from its start: more of them have no larger activations
_ROWS = 64  # of these, whose bottlenecks are kept


def quantise(
    model: str | os.PathLike[str],
    texts: Sequence[str],
    out: str | os.PathLike[str],
    *,
    quantile: float = 0.9999,
    info: Mapping[str, Any] | None = None,
    dtype: StorageType = "int8",
) -> None:
    """Write a float model as one with ``precision="int8"``.

    Weights get one scale per output; the grids of activations end where those of the texts do.

    Args:
        model: Model file with ``precision="float32"``.
        texts: What ranges are taken from: some hundred texts of the kind that the model is for; of
            each the first 512 tokens.
        out: File to write or replace.
        quantile: The share of activations that a grid covers; what is larger is cut to its end.
        info: Further entries for the file's ``info``.
        dtype: ``"int8"``, or ``"int4"`` or ``"int2"`` for a smaller file, see :func:`.save_model`.

    Raises:
        ValueError: The file is damaged or in 8 bits already, there is no text with a token, or
            ``quantile`` is not in (0, 1].
        OSError: A file cannot be read or written.
    """
    metadata = read_metadata(model)
    if metadata.config.precision == "int8":
        raise ValueError(f"model must have precision 'float32', got {os.fspath(model)!r} in 'int8'")
    tensors = dict(load_tensors(model))
    tensors |= calibrate(model, texts, quantile=quantile)
    config = dataclasses.replace(metadata.config, precision="int8")
    save_model(out, config, tensors, {**metadata.info, **(info or {})}, dtype)


def calibrate(
    model: str | os.PathLike[str], texts: Sequence[str], *, quantile: float = 0.9999
) -> dict[str, FloatArray]:
    """The ranges that an 8-bit model needs, from what a float model computes of texts.

    Args:
        model, texts, quantile: as for :func:`quantise`.

    Returns:
        ``bottleneck.range`` and ``pooled.range``, see :meth:`PQRNNConfig.tensor_shapes`.

    Raises:
        ValueError: As :func:`quantise`.
    """
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile must be in (0, 1], got {quantile!r}")
    data = read_model(model)
    loaded, tensors = native.Model(data), load_tensors(model)
    config = PQRNNConfig.from_json(loaded.config_json)
    projection = Projection(**dataclasses.asdict(config.projection))
    width = config.bottleneck_size if config.skip else 0
    low, pooled = [], []
    for text in texts:
        spans = projection.spans(text)
        if not spans:
            continue
        start = text[: spans[:_TOKENS][-1][1]]
        # Begin and end marks are left out, which a range does not mind.
        states, _ = loaded.encode_tokens(start)
        pooled.append(_pooled(config, tensors, states))
        rows = states[:, :width] if config.skip else _bottleneck(projection, tensors, start)
        low.append(rows[:: -(-len(rows) // _ROWS)].ravel())
    if not pooled:
        raise ValueError("texts must have tokens to take ranges from, got none")

    def end(values: npt.NDArray[Any]) -> np.float32:
        # A grid needs some length, even where nothing was ever different from zero.
        return np.float32(max(float(np.quantile(np.abs(values), quantile)), 1e-6))

    bottleneck = end(np.concatenate(low))
    vectors = np.stack(pooled)
    ranges = [bottleneck] if config.skip else []
    # A mean of states is mostly smaller than they are, and its grid may be finer.
    ranges.append(min(np.float32(1), end(vectors[:, width:])))
    return {
        "bottleneck.range": np.array([bottleneck], np.float32),
        "pooled.range": np.array(ranges, np.float32),
    }


def _bottleneck(
    projection: Projection, tensors: Mapping[str, FloatArray], text: str
) -> npt.NDArray[Any]:
    """What a text's tokens have behind the bottleneck, [tokens, B]."""
    features = projection.ragged([text], dtype=np.float32)[0]
    sums: npt.NDArray[Any] = features @ tensors["bottleneck.weight"].T
    return np.maximum(sums + tensors["bottleneck.bias"], 0)


def _pooled(config: PQRNNConfig, tensors: Mapping[str, FloatArray], states: FloatArray) -> Any:
    """The pooled vector [P] of a text from the states of its tokens [T, P]."""
    logits = states @ tensors["attention.weight"].T + tensors["attention.bias"]
    shares = np.exp(logits - logits.max(axis=0))
    shares /= shares.sum(axis=0)
    heads = np.arange(config.pooled_size) // (config.pooled_size // config.attention_heads)
    return (shares[:, heads] * states).sum(axis=0)
