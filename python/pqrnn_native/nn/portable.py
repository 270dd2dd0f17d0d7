"""The operators of a pQRNN layer in plain torch, for devices that have no kernels of ours.

They compute what :mod:`.ops` does on ragged rows; a scan takes log2(T) steps over padded sequences
instead of T, which is what suits a GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import ops
from .synchronised import sum_taps


def attend(rows: Tensor, logits: Tensor, offsets: Tensor) -> Tensor:
    """Attention pooling: ``v[s, p] = sum_t softmax_t(logits)[t, head of p] * rows[t, p]``.

    Args:
        rows: [tokens, P].
        logits: [tokens, A]; head a has the a-th of A equal shares of the channels.
        offsets: int64 [n + 1].

    Returns:
        [n, P], zero for a sequence without tokens.
    """
    if ops.has_kernels(rows.device):
        return ops.attend(rows, logits, offsets, None)[0]
    heads = logits.shape[1]
    valid = valid_places(offsets)
    scores = padded(logits.float(), valid, float("-inf"))
    states = padded(rows.float(), valid, 0.0).unflatten(2, (heads, -1))
    # The softmax of a sequence without tokens would be 0 / 0.
    empty = ~valid.any(1)
    weights = scores.masked_fill(empty[:, None, None], 0.0).softmax(1)
    return (weights.unsqueeze(3) * states).sum(1).flatten(1).to(rows.dtype)


def gate_pool(
    summed: Tensor,
    coefficients: Tensor,
    offsets: Tensor,
    hidden: int,
    pooling: str,
    directions: int,
    zoneout: float,
) -> Tensor:
    """States of pre-activations with their taps summed.

    Args:
        summed: [tokens, D * G * H]: per direction the gates z, (i,) f, (o), see
            :func:`.synchronised.sum_taps`.
        coefficients: [3, D * G * H]: mean, scale and shift of ``(p - mean) * scale + shift``.
        offsets: int64 [n + 1].
        hidden: H.
        pooling: ``"f"``, ``"fo"`` or ``"ifo"``.
        directions: D; the second runs from the end.
        zoneout: probability that a step keeps a channel's state.

    Returns:
        [tokens, D * H].
    """
    mean, scale, shift = coefficients
    gates = ((summed - mean) * scale + shift).unflatten(1, (directions, -1, hidden))
    valid = valid_places(offsets)
    outputs = []
    for direction in range(directions):
        z, *others = gates[:, direction].unbind(1)
        z, others = z.tanh(), [gate.sigmoid() for gate in others]
        keep = others[1] if pooling == "ifo" else others[0]
        add = (others[0] if pooling == "ifo" else 1 - keep) * z
        if zoneout:
            kept = torch.rand_like(keep) < zoneout
            keep, add = keep.masked_fill(kept, 1.0), add.masked_fill(kept, 0.0)
        # Padding keeps the state, so that running from the padded end is running from the end.
        state = _scan(padded(keep, valid, 1.0), padded(add, valid, 0.0), bool(direction))[valid]
        outputs.append(state if pooling == "f" else others[-1] * state)
    return torch.cat(outputs, 1)


def pool(
    gates: Tensor,
    coefficients: Tensor,
    offsets: Tensor,
    hidden: int,
    taps: int,
    pooling: str,
    directions: int,
) -> Tensor:
    """:func:`gate_pool` of gates whose taps are still apart, [tokens, D * k * G * H]."""
    summed = sum_taps(gates.to(coefficients.dtype), offsets, taps, directions)
    return gate_pool(summed, coefficients, offsets, hidden, pooling, directions, 0.0)


def _scan(keep: Tensor, add: Tensor, reverse: bool) -> Tensor:
    """``c[t] = keep[t] * c[t - 1] + add[t]`` along the second dimension of [n, T, H]."""
    if reverse:
        return _scan(keep.flip(1), add.flip(1), False).flip(1)
    distance = 1
    while distance < keep.shape[1]:
        before = torch.cat(
            (add[:, :distance], add[:, distance:] + keep[:, distance:] * add[:, :-distance]), 1
        )
        keep = torch.cat((keep[:, :distance], keep[:, distance:] * keep[:, :-distance]), 1)
        add, distance = before, 2 * distance
    return add


def valid_places(offsets: Tensor) -> Tensor:
    """Which places of the padded box [n, T] hold a token."""
    lengths = offsets.diff()
    steps = torch.arange(int(lengths.max()) if len(lengths) else 0, device=offsets.device)
    return steps < lengths.unsqueeze(1)


def padded(rows: Tensor, valid: Tensor, filling: float) -> Tensor:
    """Rows [tokens, width] in their places [n, T, width], and the filling in all others."""
    return rows.new_full((*valid.shape, rows.shape[1]), filling).index_put((valid,), rows)
