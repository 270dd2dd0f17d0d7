"""From token bytes to the bottleneck on tensors: fingerprints, ternary features, their product.

The words of a text are what :meth:`pqrnn_native.Projection.words` says; here they are bytes.
Only ``hash="murmur"`` without n-grams and extra columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from . import ops

__all__ = ["hash_tokens", "join_tokens", "packed_features", "ternary_features", "ternary_linear"]


def join_tokens(words: Sequence[bytes]) -> tuple[Tensor, Tensor]:
    """The bytes of all words, uint8, and int64 offsets [n + 1], on the CPU."""
    data = torch.from_numpy(np.frombuffer(b"".join(words), np.uint8).copy())
    offsets = torch.zeros(len(words) + 1, dtype=torch.int64)
    offsets[1:] = torch.tensor([len(word) for word in words], dtype=torch.int64).cumsum(0)
    return data, offsets


def hash_tokens(data: Tensor, offsets: Tensor, *, char: str = "unsigned") -> Tensor:
    """Murmur fingerprints, from which all features of a token follow.

    Args:
        data: uint8 [bytes] of all tokens, one after the other.
        offsets: int64 [n + 1]: token i is ``data[offsets[i]:offsets[i + 1]]``; an empty one counts
            as ``<null>``. On CUDA devices those out of range are clamped.
        char: As in :class:`pqrnn_native.Projection`.

    Returns:
        int64 [n, 2], the bits of two unsigned words.

    Raises:
        ValueError: A dtype, shape or ``char`` does not fit.
    """
    return ops.hash_tokens(data, offsets, char)


def ternary_features(
    tokens: Tensor | tuple[Tensor, Tensor],
    feature_size: int,
    *,
    char: str = "unsigned",
    dtype: torch.dtype = torch.int8,
) -> Tensor:
    """Features -1, 0 and +1, the same bits as :class:`pqrnn_native.Projection` gives.

    Args:
        tokens: Fingerprints of :func:`hash_tokens`, or the pair ``(data, offsets)`` that it takes.
        feature_size: F, 1 to 4096.
        char: As in :func:`hash_tokens`, for bytes.
        dtype: int8, float16, bfloat16 or float32.

    Returns:
        [n, F].

    Raises:
        TypeError: Another dtype.
        ValueError: A shape or size does not fit.
    """
    if dtype == torch.int64:
        raise TypeError(f"dtype must be int8, float16, bfloat16 or float32, got {dtype}")
    if isinstance(tokens, Tensor):
        return ops.expand_features(tokens, feature_size, dtype)
    return ops.token_features(*tokens, feature_size, char, dtype)


def packed_features(
    tokens: Tensor | tuple[Tensor, Tensor], feature_size: int, *, char: str = "unsigned"
) -> Tensor:
    """As :func:`ternary_features`, two bits each (0: 0, 1: +1, 2: -1, 3: 0), low bits first.

    Returns:
        int64 [n, ceil(F / 32)], zeros past F.
    """
    if isinstance(tokens, Tensor):
        return ops.expand_features(tokens, feature_size, torch.int64)
    return ops.token_features(*tokens, feature_size, char, torch.int64)


def ternary_linear(fingerprints: Tensor, weight: Tensor) -> Tensor:
    """The product of ternary features with a matrix, as of the bottleneck, features never written.

    Args:
        fingerprints: int64 [n, 2] of :func:`hash_tokens`.
        weight: [N, F]. On CUDA devices rounded to bfloat16; features are exact in any type.

    Returns:
        float32 [n, N]; differentiable once in ``weight``.
    """
    return ops.ternary_linear(fingerprints, weight)
