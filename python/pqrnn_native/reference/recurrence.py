"""The recurrence and its random bits as loops in float64: slow, obvious, independent of the core.

Arrays are [n, T, C]: sequence, step, channel. ``lengths`` [n] says how many steps of each sequence
there are (all of T when absent); the others are padding, which is not read, and zero in results.
Functions without random bits take complex128 too, so that a test can differentiate them by a
complex step: the imaginary part of ``f(x + 1e-30j) / 1e-30`` is f'(x) to the last digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Lengths = Sequence[int] | None

WORD = 2**32 - 1


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))``, elementwise."""
    result: Array = 1 / (1 + np.exp(-x))
    return result


def _order(lengths: Lengths, n: int, steps: int, reverse: bool) -> range:
    """The steps of sequence n in the order in which the recurrence takes them."""
    length = steps if lengths is None else int(lengths[n])
    return range(length - 1, -1, -1) if reverse else range(length)


def scan(
    f: Array, x: Array, h0: Array | None = None, *, lengths: Lengths = None, reverse: bool = False
) -> Array:
    """``h[t] = f[t] * h[t-1] + x[t]`` (specification, section 12.2); h0 [n, C] or zeros."""
    h = np.zeros(x.shape, np.result_type(f, x, np.float64))
    for n in range(len(x)):
        state = np.zeros(x.shape[2]) if h0 is None else h0[n]
        for t in _order(lengths, n, x.shape[1], reverse):
            state = f[n, t] * state + x[n, t]
            h[n, t] = state
    return h


def scan_gradients(
    gh: Array,
    f: Array,
    x: Array,
    h0: Array | None = None,
    *,
    lengths: Lengths = None,
    reverse: bool = False,
) -> tuple[Array, Array, Array]:
    """Gradients of f, x and h0 for the gradient ``gh`` of h.

    From the last step to the first, with g the gradient of the state:
    ``g += gh[t]``, ``gx[t] = g``, ``gf[t] = g * h[t-1]``, ``g = g * f[t]``; what remains is gh0.
    """
    h = scan(f, x, h0, lengths=lengths, reverse=reverse)
    gf, gx = np.zeros(x.shape), np.zeros(x.shape)
    gh0 = np.zeros((len(x), x.shape[2]))
    for n in range(len(x)):
        order = _order(lengths, n, x.shape[1], reverse)
        start = np.zeros(x.shape[2]) if h0 is None else h0[n]
        for index in range(len(order) - 1, -1, -1):
            t = order[index]
            before = h[n, order[index - 1]] if index else start
            g = gh0[n] + gh[n, t]
            gx[n, t] = g
            gf[n, t] = g * before
            gh0[n] = g * f[n, t]
    return gf, gx, gh0


def pool(
    z: Array,
    f: Array,
    o: Array | None = None,
    i: Array | None = None,
    h0: Array | None = None,
    *,
    lengths: Lengths = None,
    reverse: bool = False,
    held: npt.NDArray[np.bool_] | None = None,
) -> tuple[Array, Array, Array]:
    """QRNN pooling of activated gates (Bradbury et al. 2016, section 2.1, equations 3 to 5).

    f-pooling: ``c[t] = f[t] * c[t-1] + (1 - f[t]) * z[t]``, ``h[t] = c[t]``; fo-pooling (with
    ``o``): ``h[t] = o[t] * c[t]``; ifo-pooling (with ``i``): ``i[t] * z[t]`` as the last product.
    Where ``held`` [n, T, C] is true, zoneout: ``c[t] = c[t-1]`` (specification, section 12.2).

    Returns:
        h and c [n, T, C], and the state after the last step [n, C].
    """
    h = np.zeros(z.shape, np.result_type(z, f, *(g for g in (o, i, h0) if g is not None)))
    c = np.zeros_like(h)
    last = np.zeros_like(h[:, :0].sum(1))
    for n in range(len(z)):
        if h0 is not None:
            last[n] = h0[n]
        for t in _order(lengths, n, z.shape[1], reverse):
            share = 1 - f[n, t] if i is None else i[n, t]
            state = f[n, t] * last[n] + share * z[n, t]
            if held is not None:
                state = np.where(held[n, t], last[n], state)
            last[n] = c[n, t] = state
            h[n, t] = state if o is None else o[n, t] * state
    return h, c, last


def pre_activations(products: Array, *, lengths: Lengths = None, reverse: bool = False) -> Array:
    """The sum over a gate's taps, [n, T, C], of the products [n, T, k, C] of each row.

    ``p[t] = sum_j products[t - k + 1 + j, j]``, reversed ``sum_j products[t + j, j]``; rows outside
    the sequence count as zeros: the masked convolution of Bradbury et al. 2016, section 2.
    """
    count, steps, taps, width = products.shape
    p = np.zeros((count, steps, width), products.dtype)
    for n in range(count):
        length = steps if lengths is None else int(lengths[n])
        for t in range(length):
            for j in range(taps):
                row = t + j if reverse else t - taps + 1 + j
                if 0 <= row < length:
                    p[n, t] += products[n, row, j]
    return p


def activated_pool(
    y: Array,
    pooling: str,
    h0: Array | None = None,
    *,
    lengths: Lengths = None,
    reverse: bool = False,
    held: npt.NDArray[np.bool_] | None = None,
) -> tuple[Array, Array, Array]:
    """:func:`pool` of pre-activations [n, T, G, H], gates in the order z, (i,) f, (o).

    ``z = tanh(y_z)``, the others ``sigmoid(y)``.
    """
    y = np.where(np.isnan(y.real), 0, y)  # padding
    names = {"f": "zf", "fo": "zfo", "ifo": "zifo"}[pooling]
    gates = {
        name: (np.tanh if name == "z" else sigmoid)(y[:, :, index])
        for index, name in enumerate(names)
    }
    return pool(
        gates["z"],
        gates["f"],
        gates.get("o"),
        gates.get("i"),
        h0,
        lengths=lengths,
        reverse=reverse,
        held=held,
    )


def attend(states: Array, logits: Array, *, lengths: Lengths = None) -> tuple[Array, Array]:
    """Attention pooling (specification, section 13).

    ``w[t, a] = exp(logits[t, a]) / sum_u exp(logits[u, a])`` and ``v[p] = sum_t w[t, a] *
    states[t, p]``, where channel p belongs to head ``a = p // (P / A)``.

    Args:
        states: [n, T, P].
        logits: [n, T, A].
        lengths: Steps of each sequence, [n].

    Returns:
        v [n, P], zero for a sequence without steps, and w [n, T, A].
    """
    weights = np.zeros(logits.shape, np.result_type(logits, np.float64))
    pooled = np.zeros((len(states), states.shape[2]), np.result_type(states, weights))
    size = states.shape[2] // logits.shape[2]
    for n in range(len(states)):
        steps = _order(lengths, n, states.shape[1], False)
        for a in range(logits.shape[2]):
            largest = max((logits[n, t, a].real for t in steps), default=0.0)
            total = sum(np.exp(logits[n, t, a] - largest) for t in steps)
            for t in steps:
                weights[n, t, a] = np.exp(logits[n, t, a] - largest) / total
                channels = slice(a * size, (a + 1) * size)
                pooled[n, channels] += weights[n, t, a] * states[n, t, channels]
    return pooled, weights


def philox(counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]:
    """Philox 4x32 with 10 rounds: four random words of a counter of four words and a key of two.

    Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011), section
    3.3: a round multiplies words 0 and 2, mixes the high halves with words 1 and 3 and the key, and
    the key advances by a Weyl sequence.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(c0 * 0xD2511F53, 2**32)
        high1, low1 = divmod(c2 * 0xCD9E8D57, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return c0, c1, c2, c3


def zoneout_mask(
    seed: int, probability: float, count: int, steps: int, width: int, direction: int = 0
) -> npt.NDArray[np.bool_]:
    """Where zoneout holds the state of one direction (0, or 1 for the second), [n, T, H].

    A channel is held when its random word is below ``probability * 2**32``. Channels go by 64: of
    each 64, number ``16 * w + j`` has word w of the Philox counter ``(16 * (channel // 64) + j,
    step, sequence, direction)`` under the key ``seed``, low word first.
    """
    held = np.zeros((count, steps, width), np.bool_)
    key = seed & WORD, seed >> 32
    for n in range(count):
        for t in range(steps):
            for channel in range(width):
                index, word = _place(channel)
                random = philox((index, t, n, direction), key)[word]
                held[n, t, channel] = random < round(probability * 2**32)
    return held


def _place(channel: int) -> tuple[int, int]:
    block, within = divmod(channel, 64)
    word, j = divmod(within, 16)
    return 16 * block + j, word


def dropout_mask(seed: int, probability: float, count: int) -> npt.NDArray[np.bool_]:
    """Which elements dropout sets to zero, [count].

    Element i of a tensor in C order takes the word that is channel i's in :func:`zoneout_mask`,
    of the counter ``(index & (2**32 - 1), index >> 32, 0, 2)``; the other elements are divided by
    ``1 - probability``.
    """
    dropped = np.zeros(count, np.bool_)
    key = seed & WORD, seed >> 32
    for i in range(count):
        index, word = _place(i)
        random = philox((index & WORD, index >> 32, 0, 2), key)[word]
        dropped[i] = random < round(probability * 2**32)
    return dropped
