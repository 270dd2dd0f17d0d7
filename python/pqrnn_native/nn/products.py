"""Dense products of as many rows as a batch happens to have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = [
    "byte_step",
    "dense",
    "dense_features",
    "features_product",
    "linear",
    "product_dtype",
    "sparse_features",
]

_ROWS = 64
_LARGEST = 127  # of the bytes that weights and gradients are rounded to


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """:func:`torch.nn.functional.linear` without a compilation for each new number of rows.

    oneDNN, which computes bfloat16 on the CPU, compiles kernels for every shape it has not seen,
    which takes longer than the product itself, and ragged batches have a new number of tokens each
    time. So their rows are filled up with zeros to a multiple of 64.

    Args:
        x: [.., C].
        weight: [outputs, C].
        bias: [outputs].

    Returns:
        [.., outputs], in the dtype that autocast asks for.
    """
    if x.dim() != 2 or x.shape[0] % _ROWS == 0 or not _compiles(x):
        return nn.functional.linear(x, weight, bias)
    half = torch.bfloat16
    product: Tensor = _FilledProduct.apply(
        x, weight.to(half), bias if bias is None else bias.to(half)
    )
    return product


class _FilledProduct(torch.autograd.Function):
    """:func:`torch.nn.functional.linear` of x and of the gradient as :func:`_filled` makes them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        filled = _filled(x)
        ctx.save_for_backward(filled, weight)
        ctx.dtype = x.dtype
        return nn.functional.linear(filled, weight, bias)[: x.shape[0]]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        filled = _filled(grad)
        wanted = ctx.needs_input_grad
        return (
            (filled @ weight)[: grad.shape[0]].to(ctx.dtype) if wanted[0] else None,
            filled.t() @ x if wanted[1] else None,
            grad.sum(0) if wanted[2] else None,
        )


def _filled(x: Tensor) -> Tensor:
    """bfloat16 with rows of zeros up to a multiple of 64."""
    rows = x.shape[0]
    filled = x.new_empty(rows + -rows % _ROWS, x.shape[1], dtype=torch.bfloat16)
    filled[:rows] = x
    filled[rows:] = 0
    return filled


def dense(layer: nn.Linear, x: Tensor) -> Tensor:
    """A layer applied by :func:`linear`."""
    return linear(x, layer.weight, layer.bias)


def features_product(features: Tensor, weight: Tensor) -> Tensor:
    """Features times the bottleneck's weights, the largest product of training.

    Where autocast asks a CPU for bfloat16, features of int8 are multiplied as they are, which takes
    half the time: weights are rounded to 127 steps of the largest one of their row, and in the
    backward pass gradients to 127 steps of the largest one of their column, up or down by chance,
    so that they are right on average.

    Of sparse features, the rows of weights that they name are added up in float32.

    Args:
        features: [rows, F], of any real dtype; strided, or sparse as :func:`sparse_features` makes
            it.
        weight: [outputs, F].

    Returns:
        [rows, outputs], in the dtype that autocast asks for.
    """
    if features.is_sparse:
        return _sum_of_rows(features, weight).to(product_dtype(weight))
    if features.dtype == torch.int8 and features.shape[0] and _compiles(features):
        product: Tensor = _ByteProduct.apply(features, weight)
        return product
    return linear(features.to(product_dtype(weight)), weight)


def sparse_features(starts: Tensor, columns: Tensor, signs: Tensor, size: int) -> Tensor:
    """A sparse matrix [rows, size] of ``Projection.ragged_nonzero``: int64 [rows + 1], two [n]."""
    count = len(starts) - 1
    rows = torch.arange(count).repeat_interleave(starts.diff(), output_size=len(columns))
    return torch.sparse_coo_tensor(
        torch.stack((rows, columns)), signs, (count, size), check_invariants=False
    )


def dense_features(features: Tensor) -> Tensor:
    """The same with all its zeros, in case that it is sparse."""
    return features.to_dense() if features.is_sparse else features


def _sum_of_rows(features: Tensor, weight: Tensor) -> Tensor:
    rows, columns = features._indices()  # of a matrix that is not coalesced, but in order
    starts = torch.bincount(rows, minlength=features.shape[0]).cumsum(0)
    starts = torch.cat((starts.new_zeros(1), starts))[:-1]
    return nn.functional.embedding_bag(
        columns,
        weight.t().contiguous(),
        starts,
        mode="sum",
        per_sample_weights=features._values().to(weight.dtype),
    )


class _ByteProduct(torch.autograd.Function):
    """int8 [rows, F] times real [outputs, F], transposed: bfloat16 [rows, outputs]."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        unit = byte_step(weight, (1,))
        low = (weight / unit).round_().to(torch.int8)
        return (torch._int_mm(features, low.t()) * unit.t()).to(torch.bfloat16)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        (features,) = ctx.saved_tensors
        grad = grad.float()
        unit = byte_step(grad, (0,))
        low = (grad / unit).add_(torch.rand_like(grad)).floor_().clamp_(-_LARGEST, _LARGEST)
        return None, torch._int_mm(low.to(torch.int8).t().contiguous(), features) * unit.t()


def byte_step(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The step of the grid -127..127 that just holds x, of size 1 in ``dims``; 1 for zeros."""
    step = x.detach().abs().amax(dims, keepdim=True) / _LARGEST
    return torch.where(step == 0, 1.0, step)


def product_dtype(weight: Tensor) -> torch.dtype:
    """The dtype that a product with a weight is computed in: autocast's, or its own."""
    device = weight.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return weight.dtype


def _compiles(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )
