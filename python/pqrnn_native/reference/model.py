"""A whole model in float64 loops: features of one text and the tensors of a model file to outputs.

The tensors are those of a model file, with batch norm folded in. The graph is that of
chapters 11 to 13 of the specification, without what that has by mistake (see
:class:`pqrnn_native.nn.PQRNNEncoder`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pqrnn_native.config import PQRNNConfig

from .recurrence import activated_pool, attend

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]


def linear(tensors: Tensors, name: str, x: Array) -> Array:
    """``x W^T + b`` for x [.., inputs]."""
    weight = tensors[f"{name}.weight"].astype(np.float64)
    result: Array = x @ weight.T + tensors[f"{name}.bias"].astype(np.float64)
    return result


def direction(config: PQRNNConfig, tensors: Tensors, name: str, u: Array) -> Array:
    """One direction of a layer, [T, C] to [T, H].

    ``y[t] = bias + sum_j W[:, j] u[t - k + 1 + j]``, backward ``u[t + j]``, then the pooling.
    """
    weight = tensors[f"{name}.weight"].astype(np.float64)
    reverse = name.endswith("backward")
    taps = weight.shape[1]
    y = np.zeros((len(u), len(weight)))
    for t in range(len(u)):
        y[t] = tensors[f"{name}.bias"]
        for j in range(taps):
            row = t + j if reverse else t - taps + 1 + j
            if 0 <= row < len(u):
                y[t] += weight[:, j] @ u[row]
    gates = y.reshape(1, len(u), config.gates, config.state_size)
    h: Array = activated_pool(gates, config.pooling, reverse=reverse)[0][0]
    return h


def states(config: PQRNNConfig, tensors: Tensors, features: Array) -> Array:
    """What attention pools, [T, P], for the features [T, F] of one text."""
    bottleneck = np.maximum(linear(tensors, "bottleneck", features.astype(np.float64)), 0)
    u = bottleneck
    names = ("forward", "backward") if config.bidirectional else ("forward",)
    for layer in range(config.num_layers):
        u = np.concatenate(
            [direction(config, tensors, f"layers.{layer}.{name}", u) for name in names], axis=1
        )
    return np.concatenate([bottleneck, u], axis=1) if config.skip else u


def pooled(config: PQRNNConfig, tensors: Tensors, features: Array) -> Array:
    """The vector [P] that text heads see; zero for a text without tokens."""
    s = states(config, tensors, features)
    v: Array = attend(s[None], linear(tensors, "attention", s)[None])[0][0]
    return v


def outputs(config: PQRNNConfig, tensors: Tensors, features: Array) -> Array:
    """Sentence vector [D] before its normalisation, or logits of classes or intents.

    The sentence vector of a text without tokens is zero.
    """
    if config.task == "embedding" and len(features) == 0:
        return np.zeros(config.output_size)
    if config.task == "parsing" and not config.intents:
        return np.zeros(0)
    head = "intent" if config.task == "parsing" else "head"
    return linear(tensors, head, pooled(config, tensors, features))


def embedding(config: PQRNNConfig, tensors: Tensors, features: Array) -> Array:
    """Sentence vector [D] of length 1 (or 0)."""
    vector = outputs(config, tensors, features)
    length = np.sqrt(np.sum(vector**2))
    return vector if length == 0 else vector / length


def slots(config: PQRNNConfig, tensors: Tensors, features: Array) -> Array:
    """Logits of slot tags, [T, S]: ``W s[t] + b``, with slot_context ``+ U v``."""
    logits = linear(tensors, "slots", states(config, tensors, features))
    if config.slot_context:
        weight = tensors["slots.context.weight"].astype(np.float64)
        logits = logits + weight @ pooled(config, tensors, features)
    return logits
