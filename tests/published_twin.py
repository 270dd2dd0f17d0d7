"""The published graph in NumPy and float64: padded boxes, loops, one function a paragraph.

Written from sections 11 to 13 of the specification alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import pqrnn_native as pq

Array = Any


def fake_quantise(x: Array, low: float, high: float) -> Array:
    """The nearest of 256 levels that include 0; of two that are as near, the upper."""
    step = (high - low) / 255
    if step == 0:
        return np.zeros_like(x)
    below = int(np.ceil(-low / step - 0.5 - 1e-6))  # levels below 0; 127 of 127.5
    levels = (np.arange(256) - below) * step
    # Halves do occur: an attention of 1/6 is 42.5 steps of 1/255, up to the last bits of a float.
    return levels[np.abs((x + 1e-12)[..., None] - levels).argmin(-1)]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


class Twin:
    """A forward pass over a state.

    Args:
        state: ``state_dict`` of a graph as float64 arrays; not changed.
        config: of the graph.
        training: batch statistics, zoneout.
        quantize: the graph's switch.
        uniforms: what zoneout draws, an array [n, T, H] for each direction of each layer.

    Attributes:
        stored: moving averages after the pass, by their names in the state.
    """

    def __init__(
        self,
        state: dict[str, Array],
        config: pq.PQRNNConfig,
        *,
        training: bool,
        quantize: bool,
        uniforms: Iterator[Array] | None = None,
    ) -> None:
        self.state, self.config = state, config
        self.training, self.quantize, self.uniforms = training, quantize, uniforms
        self.stored = {
            name: value for name, value in state.items() if name.rsplit(".", 1)[-1] in
            ("low", "high", "moving_mean", "moving_variance")
        }  # fmt: skip

    def fixed(self, x: Array, low: float) -> Array:
        return fake_quantise(x, low, 1.0) if self.quantize else x

    def store(self, name: str, batch: Array, d: float) -> None:
        self.stored[name] = self.state[name] * (1 - d) + d * batch

    def activation(self, name: str, x: Array) -> Array:
        if not self.quantize:
            return x
        if not self.training:
            low, high = self.state[f"{name}.low"], self.state[f"{name}.high"]
            return fake_quantise(x, float(low), float(high))
        low, high = min(x.min(), 0.0), max(x.max(), 0.0)
        self.store(f"{name}.low", low, 0.99)
        self.store(f"{name}.high", high, 0.99)
        return fake_quantise(x, low, high)

    def weight(self, name: str) -> Array:
        w = self.state[name]
        if not self.quantize:
            return w
        return fake_quantise(w, min(w.min(), 0.0), max(w.max(), 0.0))

    def norm(self, name: str, x: Array, mask: Array | None) -> Array:
        out = np.zeros_like(x)
        means, variances = np.zeros(x.shape[-1]), np.zeros(x.shape[-1])
        for channel in range(x.shape[-1]):
            values = x[..., channel]
            mean = self.state[f"{name}.moving_mean"][channel]
            variance = self.state[f"{name}.moving_variance"][channel]
            if self.training and mask is None:
                mean, variance = values.mean(), values.var()
            elif self.training:
                inv = 1 / mask.sum()
                mean = inv * (values * mask).sum()
                variance = inv * ((values * mask) ** 2).sum()
            means[channel], variances[channel] = mean, variance
            y = (values - mean) / np.sqrt(variance + 1e-9)
            y = y * self.state[f"{name}.scale"][channel] + self.state[f"{name}.offset"][channel]
            out[..., channel] = y if mask is None else y * mask
        if self.training:
            self.store(f"{name}.moving_mean", means, 0.999)
            self.store(f"{name}.moving_variance", variances, 0.999)
        return out

    def dense(self, name: str, x: Array, mask: Array | None, *, relu: bool) -> Array:
        y = x @ self.weight(f"{name}.weight") + self.state[f"{name}.bias"]
        y = self.norm(f"{name}.norm", y, mask)
        return self.activation(f"{name}.range", np.maximum(y, 0) if relu else y)

    def gate(self, name: str, x: Array, mask: Array, *, reverse: bool) -> Array:
        weight, bias = self.weight(f"{name}.weight"), self.state[f"{name}.bias"]
        taps = len(weight)
        y = np.zeros((*x.shape[:2], weight.shape[2]))
        for n in range(len(x)):
            for t in range(x.shape[1]):
                y[n, t] = bias
                for tap in range(taps):
                    seen = t + tap if reverse else t + tap - (taps - 1)
                    if 0 <= seen < x.shape[1]:
                        y[n, t] += x[n, seen] @ weight[tap]
        return self.activation(f"{name}.range", self.norm(f"{name}.norm", y, mask))

    def direction(
        self, name: str, x: Array, mask: Array, *, reverse: bool, zoneout: float
    ) -> Array:
        z = self.fixed(np.tanh(self.gate(f"{name}.gates.z", x, mask, reverse=reverse)), -1)
        f = self.fixed(sigmoid(self.gate(f"{name}.gates.f", x, mask, reverse=reverse)), 0)
        o = None
        if self.config.pooling == "fo":
            o = self.fixed(sigmoid(self.gate(f"{name}.gates.o", x, mask, reverse=reverse)), 0)
        multiplier, constant = f, self.fixed(self.fixed(1 - f, 0) * z, -1)
        kept = np.broadcast_to(mask[:, :, None] == 0, f.shape)
        if self.training and zoneout and self.uniforms is not None:
            kept = kept | (next(self.uniforms) < zoneout)
        multiplier, constant = np.where(kept, 1.0, multiplier), np.where(kept, 0.0, constant)
        states = np.zeros_like(f)
        for n in range(len(x)):
            h = np.zeros(f.shape[2])
            for t in reversed(range(x.shape[1])) if reverse else range(x.shape[1]):
                h = h * multiplier[n, t] + constant[n, t]
                states[n, t] = h
        out = states if o is None else self.fixed(states, -1) * o
        return out * mask[:, :, None]

    def layer(self, name: str, x: Array, mask: Array, *, zoneout: float) -> Array:
        parts = [
            self.direction(f"{name}.directions.{d}", x, mask, reverse=bool(d), zoneout=zoneout)
            for d in (0, 1)
        ]
        return self.fixed(np.concatenate([self.fixed(part, -1) for part in parts], 2), -1)

    def attention(self, name: str, x: Array, mask: Array) -> Array:
        logits = self.dense(f"{name}.logits", x, mask, relu=True)[:, :, 0]
        logits = np.where(mask == 0, -1e6, logits)
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares = self.fixed(shares / shares.sum(1, keepdims=True), 0)
        pooled = np.zeros((len(x), x.shape[2]))
        for n in range(len(x)):
            for t in range(x.shape[1]):
                pooled[n] += shares[n, t] * x[n, t]
        return self.activation(f"{name}.range", pooled)

    def __call__(self, features: Array, mask: Array) -> Array:
        """Logits or pooled vectors of a box [n, T, F] with a mask [n, T]."""
        x = self.dense("bottleneck", features * mask[:, :, None], mask, relu=True)
        x = x * mask[:, :, None]
        for j in range(1, self.config.num_layers + 1):
            x = self.layer(f"layers.{j - 1}", x, mask, zoneout=self.config.zoneout**j)
        pooled = self.attention("attention", x, mask)
        if not self.config.labels:
            return pooled
        return self.dense("head", pooled, None, relu=False)
