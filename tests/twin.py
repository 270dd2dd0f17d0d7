"""A model in float64 NumPy loops, and random models to compare with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import pqrnn_native as pq
from pqrnn_native.checkpoint import save_model

Tensors = dict[str, npt.NDArray[Any]]


def random_tensors(config: pq.PQRNNConfig, rng: np.random.Generator) -> Tensors:
    """Weights of a scale that keeps gates away from saturation."""
    tensors: Tensors = {}
    for name, shape in config.tensor_shapes().items():
        inputs = int(np.prod(shape[1:])) if len(shape) > 1 else 4
        tensors[name] = (rng.normal(size=shape) * 1.5 / np.sqrt(inputs)).astype(np.float32)
    return tensors


def random_model(
    config: pq.PQRNNConfig, rng: np.random.Generator, folder: Path, dtype: Any = "float32"
) -> tuple[Path, Tensors]:
    path = folder / "model.safetensors"
    tensors = random_tensors(config, rng)
    save_model(path, config, tensors, {"made": "for a test"}, dtype)
    return path, tensors


def projection(config: pq.PQRNNConfig) -> pq.Projection:
    return pq.Projection(**dataclasses.asdict(config.projection))


def sigmoid(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return 1 / (1 + np.exp(-x))


def states(config: pq.PQRNNConfig, tensors: Tensors, features: npt.NDArray[Any]) -> Any:
    """Float64 [T, P], what the attention pools, for the features [T, F] of one text."""
    w = {name: value.astype(np.float64) for name, value in tensors.items()}
    steps = len(features)
    low = np.maximum(features @ w["bottleneck.weight"].T + w["bottleneck.bias"], 0)
    u, k = low, config.kernel_size
    for layer in range(config.num_layers):
        outputs = []
        for direction in ("forward", "backward")[: config.directions]:
            weight = w[f"layers.{layer}.{direction}.weight"]
            bias = w[f"layers.{layer}.{direction}.bias"]
            h = np.zeros((steps, config.state_size))
            c = np.zeros(config.state_size)
            order = range(steps) if direction == "forward" else range(steps - 1, -1, -1)
            for t in order:
                gates = bias.copy()
                for j in range(k):
                    source = t + j - (k - 1) if direction == "forward" else t + j
                    if 0 <= source < steps:
                        gates += weight[:, j] @ u[source]
                parts = np.split(gates, config.gates)
                z, f = np.tanh(parts[0]), sigmoid(parts[2 if config.pooling == "ifo" else 1])
                i = sigmoid(parts[1]) if config.pooling == "ifo" else 1 - f
                o = 1.0 if config.pooling == "f" else sigmoid(parts[-1])
                c = f * c + i * z
                h[t] = o * c
            outputs.append(h)
        u = np.concatenate(outputs, axis=1)
    return np.concatenate([low, u], axis=1) if config.skip else u


def outputs(config: pq.PQRNNConfig, tensors: Tensors, features: npt.NDArray[Any]) -> Any:
    """Float64 [D] or [classes], before normalisation, for the features of one text."""
    w = {name: value.astype(np.float64) for name, value in tensors.items()}
    pooled = np.zeros(config.pooled_size)
    if len(features):
        s = states(config, tensors, features)
        logits = s @ w["attention.weight"].T + w["attention.bias"]
        e = np.exp(logits - logits.max(0))
        weights = e / e.sum(0)
        width = config.pooled_size // config.attention_heads
        for p in range(config.pooled_size):
            pooled[p] = weights[:, p // width] @ s[:, p]
    elif config.task == "embedding":
        return np.zeros(config.output_size)
    return w["head.weight"] @ pooled + w["head.bias"]
