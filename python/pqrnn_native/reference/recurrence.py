"""The recurrence in float64 loops: scan, QRNN poolings, zoneout's random bits.

Everything here takes one sequence, [steps, width], without padding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["forget_mult", "pre_activations", "qrnn_pool", "sigmoid", "zoneout_mask"]

Array = npt.NDArray[Any]


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))``."""
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def forget_mult(f: Array, x: Array, h0: Array | None = None, *, reverse: bool = False) -> Array:
    """``h[t] = f[t] * h[t-1] + x[t]``; with ``reverse`` from the last step to the first."""
    f, x = np.asarray(f, np.float64), np.asarray(x, np.float64)
    h = np.zeros_like(x)
    state = np.zeros(x.shape[1]) if h0 is None else np.asarray(h0, np.float64)
    for t in _order(len(x), reverse):
        state = f[t] * state + x[t]
        h[t] = state
    return h


def qrnn_pool(
    z: Array,
    f: Array,
    o: Array | None = None,
    i: Array | None = None,
    *,
    h0: Array | None = None,
    reverse: bool = False,
    keep: Array | None = None,
) -> tuple[Array, Array]:
    """``(h, c)`` of activated gates; where ``keep`` is true, c stays as it was.

    Source: Bradbury et al. 2016, section 2.1; zoneout: specification, section 12.2.
    """
    z, f = np.asarray(z, np.float64), np.asarray(f, np.float64)
    c = np.zeros_like(z)
    state = np.zeros(z.shape[1]) if h0 is None else np.asarray(h0, np.float64)
    for t in _order(len(z), reverse):
        update = f[t] * state + (1 - f[t] if i is None else i[t]) * z[t]
        state = update if keep is None else np.where(keep[t], state, update)
        c[t] = state
    return c if o is None else o * c, c


def pre_activations(u: Array, weight: Array, bias: Array, *, reverse: bool = False) -> Array:
    """Gates before their activation: [steps, rows] of u [steps, C] and weight [rows, k, C].

    A step sees the k rows that end with it; with ``reverse`` the k rows that start with it. Rows
    outside the sequence are zeros.
    """
    u, weight = np.asarray(u, np.float64), np.asarray(weight, np.float64)
    steps, k = len(u), weight.shape[1]
    out = np.tile(np.asarray(bias, np.float64), (steps, 1))
    for t in range(steps):
        for j in range(k):
            source = t + j if reverse else t - (k - 1) + j
            if 0 <= source < steps:
                out[t] += weight[:, j] @ u[source]
    return out


def zoneout_mask(
    seed: int, probability: float, sequence: int, direction: int, steps: int, width: int
) -> npt.NDArray[np.bool_]:
    """Where zoneout keeps the state, [steps, width].

    Philox 4x32-10 (Salmon et al. 2011) with the seed as key and the counter (word, step, sequence,
    direction); channel c takes output ``c // 16 % 4`` of word ``16 * (c // 64) + c % 16``.
    """
    threshold = round(probability * 2**32)
    keep = np.zeros((steps, width), np.bool_)
    for t in range(steps):
        for c in range(width):
            word = 16 * (c // 64) + c % 16
            output = _philox((word, t, sequence, direction), seed)
            keep[t, c] = output[c // 16 % 4] < threshold
    return keep


def _philox(counter: tuple[int, int, int, int], seed: int) -> tuple[int, int, int, int]:
    x0, x1, x2, x3 = counter
    k0, k1 = seed % 2**32, seed // 2**32 % 2**32
    for _ in range(10):
        a, b = 0xD2511F53 * x0, 0xCD9E8D57 * x2
        x0, x1, x2, x3 = b // 2**32 ^ x1 ^ k0, b % 2**32, a // 2**32 ^ x3 ^ k1, a % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return x0, x1, x2, x3


def _order(steps: int, reverse: bool) -> range:
    return range(steps - 1, -1, -1) if reverse else range(steps)
