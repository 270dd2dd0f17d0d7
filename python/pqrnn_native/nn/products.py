"""Dense products of as many rows as a batch happens to have."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["dense", "linear", "product_dtype"]

_ROWS = 64


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
    extra = -x.shape[0] % _ROWS if x.dim() == 2 and _compiles(x) else 0
    if not extra:
        return nn.functional.linear(x, weight, bias)
    filled = nn.functional.pad(x.to(torch.bfloat16), (0, 0, 0, extra))
    return nn.functional.linear(filled, weight, bias)[: x.shape[0]]


def dense(layer: nn.Linear, x: Tensor) -> Tensor:
    """A layer applied by :func:`linear`."""
    return linear(x, layer.weight, layer.bias)


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
