"""A whole 8-bit model as plainly as NumPy can say it: what each build must compute, bit by bit.

Products are sums of integers and exact. Everything else is single float32 operations (+, -, *, /,
min, max, rounding to the nearest even integer) in the order written here, never fused, and each
defined to the last bit by IEEE 754; so one text has one result on every machine.

Grids: the bottleneck's output is ``q * range / 255`` with q in 0..255; forget, input and output
gates are ``q / 255`` with q in 0..255; candidates and states are ``q / 127`` with q in -127..127.
Weights are ``q * scale`` with one scale per output channel and q in -127..127. The published graph
(specification, chapters 11 to 13) quantises at the same places, and gates before their activation
besides.

Texts are small here: this is the twin that kernels are tested against, not a way to run a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pqrnn_native.config import PQRNNConfig

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]

F = np.float32

# x (1 + p1 x^2 + p2 x^4) / (1 + q1 x^2 + q2 x^4) on [-4.6, 4.6]: a least-maximum fit, made for this
# file, that is never further than 1.6e-4 from tanh, a fiftieth of a step of the grid.
TANH_LIMIT = F(4.6)
TANH_P = (F(0.10367187), F(0.0007104046))
TANH_Q = (F(0.43682715), F(0.013207635))

# exp(r) - 1 - r over r^2 for |r| <= log(2) / 2, highest power first, and log(2) in two parts.
EXP_P = (
    F(0.001381459878757596), F(0.008368716575205326), F(0.04166838899254799),
    F(0.1666652113199234), F(0.4999999403953552),
)  # fmt: skip
LOG2_HIGH, LOG2_LOW, LOG2_E = F(0.693145752), F(1.42860677e-6), F(1.44269504)


def tanh(x: Array) -> Array:
    """An odd rational function close to tanh, float32 [..]."""
    x = np.minimum(np.maximum(x, -TANH_LIMIT), TANH_LIMIT)
    u = x * x
    p = x * ((TANH_P[1] * u + TANH_P[0]) * u + F(1))
    result: Array = p / ((TANH_Q[1] * u + TANH_Q[0]) * u + F(1))
    return result


def exp(x: Array) -> Array:
    """The exponential of float32 [..] in -87..0."""
    x = np.maximum(x, F(-87))
    n = np.rint(x * LOG2_E)
    r = (x - n * LOG2_HIGH) - n * LOG2_LOW
    p = np.full_like(r, EXP_P[0])
    for coefficient in EXP_P[1:]:
        p = p * r + coefficient
    result: Array = ((p * (r * r) + r) + F(1)) * np.ldexp(F(1), n.astype(np.int32))
    return result


def softmax(x: Array) -> Array:
    """Over float32 [n]; the sum is taken from the first to the last."""
    e = exp(x - x.max())
    total = F(0)
    for value in e:
        total = F(total + value)
    result: Array = e / total
    return result


def sigmoid(x: Array) -> Array:
    """Probabilities of float32 logits [..]: ``1 / (1 + e)`` or ``e / (1 + e)``, e = exp(-|x|)."""
    e = exp(-np.abs(x))
    result: Array = np.where(x < 0, e, F(1)) / (F(1) + e)
    return result


def on_unit_grid(t: Array) -> Array:
    """A gate in [0, 1] from the tanh of half its argument: the grid's value, float32."""
    result: Array = np.rint(t * F(127.5) + F(127.5)) * F(1 / 255)
    return result


def on_signed_grid(t: Array) -> Array:
    """A candidate in [-1, 1] on its grid, float32."""
    result: Array = np.rint(t * F(127)) * F(1 / 127)
    return result


def _f32(x: Any) -> Array:
    return np.asarray(x, np.float64).astype(F)


def bottleneck(config: PQRNNConfig, tensors: Tensors, features: Array) -> Array:
    """int64 [T, B], 0 to 255, of features [T, F].

    Features that are not ternary (sizes, capitals, novelty) are rounded to multiples of 1/127 in
    [-1, 1] first.
    """
    weight = tensors["bottleneck.weight"].astype(np.int64)
    unit = 127 if config.projection.has_extras else 1
    x = np.rint(np.clip(_f32(features), F(-1), F(1)) * F(unit)).astype(np.int64)
    products = (x @ weight.T).astype(F)
    grid = 255 / np.float64(tensors["bottleneck.range"][0])
    multiplier = _f32(tensors["bottleneck.weight_scale"].astype(np.float64) * grid / unit)
    bias = _f32(tensors["bottleneck.bias"].astype(np.float64) * grid)
    y = products * multiplier + bias
    return np.rint(np.minimum(np.maximum(y, F(0)), F(255))).astype(np.int64)


def direction(config: PQRNNConfig, tensors: Tensors, name: str, q: Array, unit: float) -> Array:
    """One direction of a layer: whole numbers [T, C] on a grid of `unit` to int64 [T, H]."""
    weight = tensors[f"{name}.weight"].astype(np.int64)
    scale = tensors[f"{name}.weight_scale"].astype(np.float64)
    bias = tensors[f"{name}.bias"].astype(np.float64)
    gates, size, taps = config.gates, config.state_size, config.kernel_size
    half = np.repeat([1.0] + [0.5] * (gates - 1), size)  # gates but z: sigmoid(x) from tanh(x / 2)
    multiplier, shift = _f32(scale * unit * half), _f32(bias * half)
    reverse = name.endswith("backward")
    out = np.zeros((len(q), size), np.int64)
    c = np.zeros(size, F)
    for step in range(len(q)):
        t = len(q) - 1 - step if reverse else step
        total = np.zeros(len(weight), np.int64)
        for j in range(taps):
            row = t + j if reverse else t - taps + 1 + j
            if 0 <= row < len(q):
                total += weight[:, j] @ q[row]
        activated = tanh(total.astype(F) * multiplier + shift).reshape(gates, size)
        z = on_signed_grid(activated[0])
        f = on_unit_grid(activated[2 if gates == 4 else 1])
        i = on_unit_grid(activated[1]) if gates == 4 else F(1) - f
        c = f * c + i * z
        h = c if gates == 2 else on_unit_grid(activated[-1]) * c
        out[t] = np.rint(np.minimum(np.maximum(h * F(127), F(-127)), F(127)))
    return out


def states(config: PQRNNConfig, tensors: Tensors, features: Array) -> tuple[Array, Array]:
    """The bottleneck's output int64 [T, B] and the last layer's int64 [T, D * H]."""
    low = bottleneck(config, tensors, features)
    u, unit = low, np.float64(tensors["bottleneck.range"][0]) / 255
    names = ("forward", "backward") if config.bidirectional else ("forward",)
    for layer in range(config.num_layers):
        u = np.concatenate(
            [direction(config, tensors, f"layers.{layer}.{n}", u, unit) for n in names], axis=1
        )
        unit = 1 / np.float64(127)
    return low, u


def _linear(
    config: PQRNNConfig, tensors: Tensors, name: str, low: Array, high: Array, units: Array
) -> Array:
    """float32 [.., rows] of whole numbers [.., B] (with skip) and [.., D * H] on grids of units."""
    weight = tensors[f"{name}.weight"].astype(np.int64)
    scale = tensors[f"{name}.weight_scale"].astype(np.float64)
    width = config.bottleneck_size if config.skip else 0
    y: Array = (high @ weight[:, width:].T).astype(F) * _f32(scale * units[-1])
    if config.skip:
        y = (low @ weight[:, :width].T).astype(F) * _f32(scale * units[0]) + y
    if f"{name}.bias" in tensors:
        y = y + tensors[f"{name}.bias"]
    return y


def _token_units(tensors: Tensors) -> Array:
    return np.array([np.float64(tensors["bottleneck.range"][0]) / 255, 1 / np.float64(127)])


def pooled(config: PQRNNConfig, tensors: Tensors, low: Array, high: Array) -> tuple[Array, Array]:
    """Attention over the tokens of one text: int64 [B] (0 to 255) and [D * H] (-127 to 127)."""
    ranges = tensors["pooled.range"].astype(np.float64)
    logits = _linear(config, tensors, "attention", low, high, _token_units(tensors))
    every = np.concatenate([low, high], axis=1) if config.skip else high
    sums = np.zeros(config.pooled_size, F)
    heads = np.arange(config.pooled_size) // (config.pooled_size // config.attention_heads)
    if len(every):
        shares = np.stack([softmax(column) for column in logits.T], axis=1)
        for t in range(len(every)):
            sums = sums + shares[t, heads] * every[t].astype(F)
    width = config.bottleneck_size if config.skip else 0
    low_factor = _f32(np.float64(tensors["bottleneck.range"][0]) / ranges[0])
    high_factor = _f32(1 / ranges[-1])
    low_sum = np.minimum(np.maximum(sums[:width] * low_factor, F(0)), F(255))
    high_sum = np.minimum(np.maximum(sums[width:] * high_factor, F(-127)), F(127))
    return np.rint(low_sum).astype(np.int64), np.rint(high_sum).astype(np.int64)


def _text_head(config: PQRNNConfig, tensors: Tensors, name: str, features: Array) -> Array:
    ranges = tensors["pooled.range"].astype(np.float64)
    units = np.array([ranges[0] / 255, ranges[-1] / 127])
    low, high = pooled(config, tensors, *states(config, tensors, features))
    return _linear(config, tensors, name, low, high, units)


def outputs(config: PQRNNConfig, tensors: Tensors, features: Array) -> Array:
    """float32 sentence vector [D] before its normalisation, or logits of classes or intents.

    The sentence vector of a text without tokens is zero.
    """
    if config.task == "embedding" and len(features) == 0:
        return np.zeros(config.output_size, F)
    if config.task == "parsing" and not config.intents:
        return np.zeros(0, F)
    return _text_head(config, tensors, "intent" if config.task == "parsing" else "head", features)


def slots(config: PQRNNConfig, tensors: Tensors, features: Array) -> Array:
    """float32 logits of slot tags, [T, S]."""
    low, high = states(config, tensors, features)
    logits = _linear(config, tensors, "slots", low, high, _token_units(tensors))
    if config.slot_context:
        logits = logits + _text_head(config, tensors, "slots.context", features)
    return logits
