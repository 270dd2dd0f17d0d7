"""The graph of an 8-bit model in evaluation: the very bits of the integer engine, in torch.

It is :mod:`pqrnn_native.reference.quantised` over a whole batch. Products of whole numbers are in
float64, where they are exact; the rest are the same float32 operations in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..config import PQRNNConfig
from . import functional
from .portable import padded, valid_places
from .products import dense_features
from .synchronised import sum_taps

__all__ = ["forward", "rational_tanh"]

Tensors = Mapping[str, npt.NDArray[Any]]

TANH_LIMIT = 4.6
_TANH_P, _TANH_Q = (0.10367187, 0.0007104046), (0.43682715, 0.013207635)
_EXP_P = (
    0.001381459878757596, 0.008368716575205326, 0.04166838899254799, 0.1666652113199234,
    0.4999999403953552,
)  # fmt: skip
_LOG2_HIGH, _LOG2_LOW, _LOG2_E = 0.693145752, 1.42860677e-6, 1.44269504


def rational_tanh(x: Tensor) -> Tensor:
    """The engine's tanh of float32."""
    x = x.clamp(-TANH_LIMIT, TANH_LIMIT)
    u = x * x
    p = x * ((_TANH_P[1] * u + _TANH_P[0]) * u + 1)
    return p / ((_TANH_Q[1] * u + _TANH_Q[0]) * u + 1)


def forward(
    config: PQRNNConfig, tensors: Tensors, features: Tensor, offsets: Tensor, index: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Outputs of ragged texts.

    Args:
        config: with ``precision="int8"``.
        tensors: of a model file, weights as int8 with their scales.
        features, offsets, index: as for :class:`.PQRNNEncoder`.

    Returns:
        float32 ``[n, ..]``: sentence vectors before their normalisation, or logits of classes or
        intents; and for parsing the logits of tags ``[tokens, S]``.
    """
    low = _bottleneck(config, tensors, features)
    if index is not None:
        low = low[index]
    u, unit = low, _number(tensors, "bottleneck.range") / 255
    for layer in range(config.num_layers):
        u = _layer(config, tensors, layer, u, offsets, unit)
        unit = 1 / np.float64(127)
    token_units = np.array([_number(tensors, "bottleneck.range") / 255, 1 / np.float64(127)])
    pooled = _pooled(config, tensors, low, u, offsets, token_units)
    ranges = tensors["pooled.range"].astype(np.float64)
    text_units = np.array([ranges[0] / 255, ranges[-1] / 127])
    if config.task != "parsing":
        out = _linear(config, tensors, "head", *pooled, text_units)
        if config.task == "embedding":
            out = out * (offsets.diff() > 0).unsqueeze(1)
        return out, None
    intents = out = low.new_zeros(len(offsets) - 1, 0, dtype=torch.float32)
    if config.intents:
        intents = _linear(config, tensors, "intent", *pooled, text_units)
    slots = _linear(config, tensors, "slots", low, u, token_units)
    if config.slot_context:
        terms = _linear(config, tensors, "slots.context", *pooled, text_units)
        slots = slots + terms.repeat_interleave(offsets.diff(), 0, output_size=len(slots))
    return intents, slots


def _number(tensors: Tensors, name: str) -> np.float64:
    return np.float64(tensors[name][0])


def _f32(values: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float64).astype(np.float32))


def _whole(tensors: Tensors, name: str) -> Tensor:
    return torch.from_numpy(np.asarray(tensors[name], np.float64))


def _bottleneck(config: PQRNNConfig, tensors: Tensors, features: Tensor) -> Tensor:
    unit = 127 if config.projection.has_extras else 1
    x = (dense_features(features).float().clamp(-1, 1) * unit).round().double()
    products = (x @ _whole(tensors, "bottleneck.weight").T).float()
    grid = 255 / _number(tensors, "bottleneck.range")
    multiplier = tensors["bottleneck.weight_scale"].astype(np.float64) * grid / unit
    y = products * _f32(multiplier) + _f32(tensors["bottleneck.bias"].astype(np.float64) * grid)
    return y.clamp(0, 255).round().double()


def _layer(
    config: PQRNNConfig, tensors: Tensors, layer: int, q: Tensor, offsets: Tensor, unit: np.float64
) -> Tensor:
    names = ("forward", "backward")[: config.directions]
    half = np.repeat([1.0] + [0.5] * (config.gates - 1), config.state_size)
    weights, multipliers, shifts = [], [], []
    for name in (f"layers.{layer}.{each}" for each in names):
        # [G * H, k, C] to rows of all taps.
        weights.append(_whole(tensors, f"{name}.weight").transpose(0, 1).flatten(0, 1))
        scale = tensors[f"{name}.weight_scale"].astype(np.float64)
        multipliers.append(_f32(scale * unit * half))
        shifts.append(_f32(tensors[f"{name}.bias"].astype(np.float64) * half))
    sums = sum_taps(q @ torch.cat(weights).T, offsets, config.kernel_size, config.directions)
    a = sums.float() * torch.cat(multipliers) + torch.cat(shifts)
    gates = rational_tanh(a).unflatten(1, (config.directions, config.gates, config.state_size))
    valid, lengths = valid_places(offsets), offsets.diff()
    states = []
    for direction in range(config.directions):
        z, *others = gates[:, direction].unbind(1)
        z = (z * 127).round() * float(np.float32(1 / 127))
        others = [(gate * 127.5 + 127.5).round() * float(np.float32(1 / 255)) for gate in others]
        f = others[1] if config.pooling == "ifo" else others[0]
        add = (others[0] if config.pooling == "ifo" else 1 - f) * z
        c = functional.forget_mult(
            padded(f, valid, 0.0), padded(add, valid, 0.0), lengths=lengths, reverse=bool(direction)
        )[valid]
        h = c if config.pooling == "f" else others[-1] * c
        states.append((h * 127).clamp(-127, 127).round().double())
    return torch.cat(states, 1)


def _linear(
    config: PQRNNConfig, tensors: Tensors, name: str, low: Tensor, high: Tensor, units: Any
) -> Tensor:
    weight = _whole(tensors, f"{name}.weight")
    scale = tensors[f"{name}.weight_scale"].astype(np.float64)
    width = config.bottleneck_size if config.skip else 0
    y = (high @ weight[:, width:].T).float() * _f32(scale * units[-1])
    if config.skip:
        y = (low @ weight[:, :width].T).float() * _f32(scale * units[0]) + y
    if f"{name}.bias" in tensors:
        y = y + torch.from_numpy(tensors[f"{name}.bias"])
    return y


def _exp(x: Tensor) -> Tensor:
    x = x.clamp_min(-87)
    n = (x * _LOG2_E).round()
    r = (x - n * _LOG2_HIGH) - n * _LOG2_LOW
    p = torch.full_like(r, _EXP_P[0])
    for coefficient in _EXP_P[1:]:
        p = p * r + coefficient
    power = ((n.to(torch.int32) + 127) << 23).view(torch.float32)
    return ((p * (r * r) + r) + 1) * power


def _pooled(
    config: PQRNNConfig, tensors: Tensors, low: Tensor, high: Tensor, offsets: Tensor, units: Any
) -> tuple[Tensor, Tensor]:
    """Whole numbers [n, B] and [n, D * H]; sums go from the first token to the last."""
    logits = _linear(config, tensors, "attention", low, high, units)
    valid = valid_places(offsets)
    boxed = padded(logits, valid, float("-inf"))
    largest = boxed.amax(1, keepdim=True) if boxed.shape[1] else boxed.new_zeros(len(boxed), 1, 1)
    # Where there is no token there is nothing to subtract; such shares are zeros below.
    shifted = torch.where(valid.unsqueeze(2), boxed - largest, 0.0)
    shares = torch.where(valid.unsqueeze(2), _exp(shifted), 0.0)
    total = shares.new_zeros(len(shares), shares.shape[2])
    for t in range(shares.shape[1]):
        total = total + shares[:, t]
    shares = shares / torch.where(total > 0, total, 1.0).unsqueeze(1)
    every = torch.cat((low, high), 1) if config.skip else high
    boxes = padded(every.float(), valid, 0.0)
    heads = torch.arange(config.pooled_size) // (config.pooled_size // config.attention_heads)
    sums = boxes.new_zeros(len(boxes), boxes.shape[2])
    for t in range(boxes.shape[1]):
        sums = sums + shares[:, t, heads] * boxes[:, t]
    ranges = tensors["pooled.range"].astype(np.float64)
    width = config.bottleneck_size if config.skip else 0
    low_factor = _f32(_number(tensors, "bottleneck.range") / ranges[0])
    low_sums = (sums[:, :width] * low_factor).clamp(0, 255).round()
    high_sums = (sums[:, width:] * _f32(1 / ranges[-1])).clamp(-127, 127).round()
    return low_sums.double(), high_sums.double()
