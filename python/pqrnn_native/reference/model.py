"""A whole model in float64 loops, from the tensors of a model file and the features of one text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..config import PQRNNConfig
from .recurrence import pre_activations, qrnn_pool, sigmoid

__all__ = ["attention_pool", "classify", "embed", "parse", "token_states"]

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]


def token_states(config: PQRNNConfig, tensors: Tensors, features: Array) -> Array:
    """What the attention pools: [tokens, P] of the features [tokens, F] of one text."""
    low = np.maximum(_linear(tensors, "bottleneck", features), 0)
    u = low
    for layer in range(config.num_layers):
        outputs = []
        for direction in ("forward", "backward") if config.bidirectional else ("forward",):
            name = f"layers.{layer}.{direction}"
            reverse = direction == "backward"
            p = pre_activations(
                u, tensors[f"{name}.weight"], tensors[f"{name}.bias"], reverse=reverse
            )
            outputs.append(_pooled(config.pooling, p, reverse))
        u = np.concatenate(outputs, 1)
    return np.concatenate((low, u), 1) if config.skip else u


def _pooled(pooling: str, p: Array, reverse: bool) -> Array:
    if pooling == "f":
        z, f = np.split(p, 2, 1)
        return qrnn_pool(np.tanh(z), sigmoid(f), reverse=reverse)[0]
    if pooling == "fo":
        z, f, o = np.split(p, 3, 1)
        return qrnn_pool(np.tanh(z), sigmoid(f), sigmoid(o), reverse=reverse)[0]
    z, i, f, o = np.split(p, 4, 1)
    return qrnn_pool(np.tanh(z), sigmoid(f), sigmoid(o), sigmoid(i), reverse=reverse)[0]


def attention_pool(logits: Array, states: Array) -> Array:
    """``v[p] = sum_t softmax_t(logits)[t, head of p] * states[t, p]``; no token: zeros."""
    width = states.shape[1]
    v = np.zeros(width)
    if len(states) == 0:
        return v
    weights = np.exp(logits - logits.max(0))
    weights /= weights.sum(0)
    for p in range(width):
        v[p] = weights[:, p // (width // logits.shape[1])] @ states[:, p]
    return v


def _text_vector(config: PQRNNConfig, tensors: Tensors, features: Array) -> tuple[Array, Array]:
    states = token_states(config, tensors, features)
    return attention_pool(_linear(tensors, "attention", states), states), states


def embed(
    config: PQRNNConfig, tensors: Tensors, features: Array, *, normalize: bool = True
) -> Array:
    """Sentence vector [output_size] of one text's features [tokens, F]; no token: zeros."""
    if len(features) == 0:
        return np.zeros(config.output_size)
    y = _linear(tensors, "head", _text_vector(config, tensors, features)[0])
    norm = np.sqrt((y * y).sum())
    return y / norm if normalize and norm > 0 else y


def classify(config: PQRNNConfig, tensors: Tensors, features: Array) -> Array:
    """Logits [labels] of one text's features [tokens, F]."""
    return _linear(tensors, "head", _text_vector(config, tensors, features)[0])


def parse(config: PQRNNConfig, tensors: Tensors, features: Array) -> tuple[Array, Array]:
    """Intent logits [intents] and slot logits [tokens, slots] of one text's features."""
    v, states = _text_vector(config, tensors, features)
    return _linear(tensors, "intent", v), _linear(tensors, "slots", states)


def _linear(tensors: Tensors, name: str, x: Array) -> Array:
    weight = np.asarray(tensors[f"{name}.weight"], np.float64)
    return np.asarray(x, np.float64) @ weight.T + np.asarray(tensors[f"{name}.bias"], np.float64)
