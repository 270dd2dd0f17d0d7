"""Random models, to compare with ``pqrnn_native.reference.model``."""

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
