"""Tokens to ternary features as torch operators, and the product of such features with a matrix.

A token's features follow from its fingerprint, two words of 64 bits (held as int64): see
:mod:`pqrnn_native.reference.projection`. The kernels of CUDA devices compute them at the speed of
writing them; elsewhere they come from plain torch, bit for bit the same.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from ... import _core, cuda
from ...config import ProjectionConfig
from .cuda_layout import address_of, queue_of

FEATURE_TYPES = {torch.int8: 0, torch.float16: 1, torch.bfloat16: 2, torch.float32: 3}
_PACKED = 4
_MUL1, _MUL2 = 0xC6A4A7935BD1E995 - 2**64, 0x9E3779B97F4A7835 - 2**64


def _mix(v: Tensor) -> Tensor:
    return v ^ ((v >> 47) & 0x1FFFF)  # >> of int64 copies the sign


def _codes(fingerprints: Tensor, words: int) -> Tensor:
    """[n, words] code words, as ``extend`` in csrc/kernels/expand.h."""
    low, high = fingerprints.unbind(1)
    out = []
    for _ in range(-(-words // 2)):
        out += [low, high]
        a = _mix(low) * _MUL1
        low, high = _mix((high ^ a) * _MUL2) * _MUL2, _mix(a)
    return torch.stack(out[:words], 1)


def _check_size(size: int) -> int:
    if not 1 <= size <= 4096:
        raise ValueError(f"feature_size must be in [1, 4096], got {size}")
    return -(-size // 32)


def _check_fingerprints(fingerprints: Tensor) -> Tensor:
    if fingerprints.dtype != torch.int64 or fingerprints.dim() != 2 or fingerprints.shape[1] != 2:
        raise ValueError(
            f"fingerprints must be int64 [n, 2], got {fingerprints.dtype} "
            f"{tuple(fingerprints.shape)}"
        )
    return fingerprints.contiguous()


def _check_tokens(data: Tensor, offsets: Tensor, char: str) -> None:
    if data.dtype != torch.uint8 or data.dim() != 1:
        raise ValueError(f"data must be uint8 [bytes], got {data.dtype} {tuple(data.shape)}")
    if offsets.dtype != torch.int64 or offsets.dim() != 1 or len(offsets) == 0:
        raise ValueError(
            f"offsets must be int64 [n + 1], got {offsets.dtype} {tuple(offsets.shape)}"
        )
    if char not in ("unsigned", "signed"):
        raise ValueError(f"char must be 'unsigned' or 'signed', got {char!r}")
    if offsets.device != data.device:
        raise ValueError(f"offsets must be on {data.device}, got {offsets.device}")


@custom_op("pqrnn_native::hash_tokens", mutates_args=(), device_types="cpu")
def hash_tokens(data: Tensor, offsets: Tensor, char: str) -> Tensor:
    """int64 [n, 2]: the murmur fingerprints of tokens ``data[offsets[i]:offsets[i + 1]]``."""
    _check_tokens(data, offsets, char)
    config = ProjectionConfig(feature_size=64, char=char)  # type: ignore[arg-type]
    projector = _core.Projector(**dataclasses.asdict(config))
    content, bounds = data.numpy().tobytes(), offsets.tolist()
    words = [projector.codes(content[a:b]) for a, b in itertools.pairwise(bounds)]
    signed = [[word - (word >> 63 << 64) for word in pair] for pair in words]
    return torch.tensor(signed, dtype=torch.int64).view(-1, 2)


@hash_tokens.register_kernel("cuda")
def _(data: Tensor, offsets: Tensor, char: str) -> Tensor:
    _check_tokens(data, offsets, char)
    data, offsets = data.contiguous(), offsets.contiguous()
    out = offsets.new_empty(len(offsets) - 1, 2)
    cuda.module().hash_tokens(
        queue_of(data), out.shape[0], address_of(data), data.numel(), address_of(offsets),
        char == "signed", address_of(out),
    )  # fmt: skip
    return out


@hash_tokens.register_fake
def _(data: Tensor, offsets: Tensor, char: str) -> Tensor:
    return offsets.new_empty(offsets.shape[0] - 1, 2)


def _new_features(like: Tensor, tokens: int, size: int, dtype: torch.dtype) -> Tensor:
    if dtype == torch.int64:  # packed
        return like.new_empty(tokens, -(-size // 32), dtype=dtype)
    return like.new_empty(tokens, size, dtype=dtype)


def _check_type(dtype: torch.dtype) -> int:
    if dtype == torch.int64:
        return _PACKED
    if dtype not in FEATURE_TYPES:
        raise TypeError(f"dtype must be int8, float16, bfloat16, float32 or int64, got {dtype}")
    return FEATURE_TYPES[dtype]


@custom_op("pqrnn_native::expand_features", mutates_args=(), device_types="cpu")
def expand_features(fingerprints: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """[n, size] of -1, 0 and +1 from fingerprints; with dtype int64 two bits each, 32 to a word."""
    fingerprints, words = _check_fingerprints(fingerprints), _check_size(size)
    codes = _codes(fingerprints, words)
    if _check_type(dtype) == _PACKED:
        if size % 32:
            codes[:, -1] &= (1 << (2 * (size % 32))) - 1
        return codes
    groups = (codes.unsqueeze(2) >> torch.arange(0, 64, 2)) & 3
    table = torch.tensor([0, 1, -1, 0], dtype=dtype)
    return table[groups.flatten(1)[:, :size]]


@expand_features.register_kernel("cuda")
def _(fingerprints: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    fingerprints, _ = _check_fingerprints(fingerprints), _check_size(size)
    kind = _check_type(dtype)
    out = _new_features(fingerprints, fingerprints.shape[0], size, dtype)
    cuda.module().expand_features(
        queue_of(fingerprints), fingerprints.shape[0], 0, 0, 0, False, address_of(fingerprints),
        size, kind, address_of(out),
    )  # fmt: skip
    return out


@expand_features.register_fake
def _(fingerprints: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    return _new_features(fingerprints, fingerprints.shape[0], size, dtype)


@custom_op("pqrnn_native::token_features", mutates_args=(), device_types="cpu")
def token_features(
    data: Tensor, offsets: Tensor, size: int, char: str, dtype: torch.dtype
) -> Tensor:
    """:func:`expand_features` of :func:`hash_tokens`, in one pass on CUDA devices."""
    return expand_features(hash_tokens(data, offsets, char), size, dtype)


@token_features.register_kernel("cuda")
def _(data: Tensor, offsets: Tensor, size: int, char: str, dtype: torch.dtype) -> Tensor:
    _check_tokens(data, offsets, char)
    _check_size(size)
    kind = _check_type(dtype)
    data, offsets = data.contiguous(), offsets.contiguous()
    if data.numel() == 0:  # has no address, by which the kernel knows that there are bytes
        data = data.new_zeros(1)
    out = _new_features(data, len(offsets) - 1, size, dtype)
    cuda.module().expand_features(
        queue_of(data), out.shape[0], address_of(data), data.numel(), address_of(offsets),
        char == "signed", 0, size, kind, address_of(out),
    )  # fmt: skip
    return out


@token_features.register_fake
def _(data: Tensor, offsets: Tensor, size: int, char: str, dtype: torch.dtype) -> Tensor:
    return _new_features(data, offsets.shape[0] - 1, size, dtype)


@custom_op("pqrnn_native::ternary_linear", mutates_args=(), device_types="cpu")
def ternary_linear(fingerprints: Tensor, weight: Tensor) -> Tensor:
    """float32 [n, N] = features [n, F] times weight [N, F] transposed.

    On CUDA devices the weight is rounded to bfloat16 and the features never reach memory, if F is a
    multiple of 16 and N of 8; elsewhere features are written first.
    """
    return _by_features(fingerprints, weight, weight.dtype)


def _by_features(fingerprints: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    features = expand_features(fingerprints, weight.shape[1], torch.float32)
    return torch.nn.functional.linear(features.to(dtype), weight.to(dtype)).float()


@ternary_linear.register_kernel("cuda")
def _(fingerprints: Tensor, weight: Tensor) -> Tensor:
    outputs, size = weight.shape
    fits = size % 16 == 0 and outputs % 8 == 0
    if not fits or torch.cuda.get_device_capability(weight.device) < (8, 0):
        return _by_features(fingerprints, weight, torch.float32)
    fingerprints = _check_fingerprints(fingerprints)
    weight = weight.to(torch.bfloat16).contiguous()
    out = weight.new_empty(fingerprints.shape[0], outputs, dtype=torch.float32)
    cuda.module().ternary_product(
        queue_of(weight), out.shape[0], size, outputs, address_of(fingerprints),
        address_of(weight.clone() if weight.data_ptr() % 16 else weight), address_of(out),
    )  # fmt: skip
    return out


@ternary_linear.register_fake
def _(fingerprints: Tensor, weight: Tensor) -> Tensor:
    return weight.new_empty(fingerprints.shape[0], weight.shape[0], dtype=torch.float32)


def _save_ternary_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _ternary_linear_gradient(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
    fingerprints, weight = ctx.saved_tensors
    dtype = torch.bfloat16 if weight.device.type == "cuda" else torch.float32
    features = expand_features(fingerprints, weight.shape[1], dtype)
    return None, (gradient.to(dtype).t() @ features).to(weight.dtype)


ternary_linear.register_autograd(_ternary_linear_gradient, setup_context=_save_ternary_linear)
