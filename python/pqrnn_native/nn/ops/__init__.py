"""The recurrence and dropout as torch operators, functional, with fakes and autograd.

torch is not linked: an operator's body allocates its outputs, hands raw addresses and strides to
``_core`` or ``_cuda`` (which release the GIL) and returns. Backward passes are operators too, so
that ``torch.compile`` can trace them.

Layouts. ``[batch, time, width]`` tensors may have any strides as long as channels are neighbours,
so a transposed time-major tensor is as good as a batch-major one. With ``offsets`` (int64 [n + 1])
tensors are ragged ``[rows, width]`` and sequence ``s`` is the rows ``offsets[s]:offsets[s + 1]``.
"""

from __future__ import annotations

import torch
from torch.library import register_autocast

from . import cuda_attention, cuda_packed, cuda_pooling  # noqa: F401  registers their kernels
from .attention import attend, attend_backward
from .dropout import dropout
from .layout import POOLINGS, has_float16, has_kernels
from .packed import gate_pool, gate_pool_backward
from .packed_norm import norm_gate_pool, norm_gate_pool_backward
from .pooling import qrnn_pool, qrnn_pool_backward
from .projection import expand_features, hash_tokens, ternary_linear, token_features
from .scan import forget_mult, forget_mult_backward

__all__ = [
    "POOLINGS",
    "attend",
    "attend_backward",
    "dropout",
    "expand_features",
    "forget_mult",
    "forget_mult_backward",
    "gate_pool",
    "gate_pool_backward",
    "has_float16",
    "has_kernels",
    "hash_tokens",
    "norm_gate_pool",
    "norm_gate_pool_backward",
    "qrnn_pool",
    "qrnn_pool_backward",
    "ternary_linear",
    "token_features",
]

# Under autocast these see the low precision of a product in one argument and float32 in another;
# gates near 1 need float32. gate_pool takes what the product gives: its float32 sums are inside.
for _name in ("forget_mult", "qrnn_pool"):
    for _device in ("cpu", "cuda"):
        register_autocast(f"pqrnn_native::{_name}", _device, torch.float32)
