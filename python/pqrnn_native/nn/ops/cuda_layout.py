"""Checks, addresses and memory of the tensors that CUDA kernels read and write.

Nothing here reads device memory, so that the operators can be recorded in CUDA graphs: lengths and
offsets out of range are clamped by the kernels instead of refused.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ... import cuda
from .layout import checked_probability, real_dtype, threshold_of, view_of

ELEMENTS = {torch.float32: 0, torch.bfloat16: 1, torch.float64: 2, torch.float16: 3}
POOLINGS = {"f": 0, "fo": 1, "ifo": 2, "scan": 3}
ABSENT = (0, 0, 0)


def queue_of(like: Tensor) -> Any:
    """The device of a tensor and its current stream."""
    stream = torch.cuda.current_stream(like.device).cuda_stream
    return cuda.module().Queue(like.device.index, stream)


def is_narrow(dtype: torch.dtype) -> bool:
    """Whether kernels take two channels at once."""
    return dtype in (torch.float16, torch.bfloat16)


def checked(value: Tensor) -> Tensor:
    """``value`` with neighbouring channels, 16-bit ones in aligned pairs."""
    if value.device.type != "cuda":
        raise ValueError(f"tensors must be on one CUDA device, got one on {value.device}")
    if value.dtype not in ELEMENTS:
        raise TypeError(f"dtype must be float32, float16, bfloat16 or float64, got {value.dtype}")
    if value.stride(-1) != 1 and value.shape[-1] != 1:
        return value.contiguous()
    if is_narrow(value.dtype) and (
        value.data_ptr() % 4 or any(stride % 2 for stride in value.stride()[:-1])
    ):
        return value.clone(memory_format=torch.contiguous_format)
    return value


def checked_rows(name: str, value: Tensor, like: Tensor) -> Tensor:
    """:func:`checked`, of the dtype and shape that ``like`` has."""
    if value.dtype != like.dtype:
        raise TypeError(f"{name} must be {like.dtype} as the other tensors, got {value.dtype}")
    if value.shape != like.shape or value.device != like.device:
        raise ValueError(
            f"{name} must be of shape {tuple(like.shape)} on {like.device}, "
            f"got {tuple(value.shape)} on {value.device}"
        )
    return checked(value)


def checked_state(name: str, value: Tensor | None, like: Tensor, shape: tuple[int, ...]) -> Any:
    """A state, checked and contiguous."""
    if value is None:
        return None
    if value.dtype != like.dtype:
        raise TypeError(f"{name} must be {like.dtype} as the other tensors, got {value.dtype}")
    if tuple(value.shape) != shape or value.device != like.device:
        raise ValueError(
            f"{name} must be of shape {shape} on {like.device}, "
            f"got {tuple(value.shape)} on {value.device}"
        )
    value = value.contiguous()
    return value.clone() if is_narrow(value.dtype) and value.data_ptr() % 4 else value


def check_real(name: str, value: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """A contiguous tensor of arithmetic type and that shape on a CUDA device."""
    if value.dtype != real_dtype(dtype) or tuple(value.shape) != shape:
        raise ValueError(
            f"{name} must be {real_dtype(dtype)} of shape {shape}, "
            f"got {value.dtype} of shape {tuple(value.shape)}"
        )
    if value.device.type != "cuda":
        raise ValueError(f"{name} must be on the CUDA device, got {value.device}")
    return value.contiguous()


def _index(name: str, value: Tensor | None, like: Tensor, size: int) -> Tensor | None:
    if value is None:
        return None
    if value.dtype != torch.int64 or value.device != like.device:
        raise TypeError(
            f"{name} must be int64 on {like.device}, got {value.dtype} on {value.device}"
        )
    if tuple(value.shape) != (size,):
        raise ValueError(f"{name} must be of shape {(size,)}, got {tuple(value.shape)}")
    return value.contiguous()


class Sequences:
    """Which rows belong together; keeps the index tensors alive while a launch is made."""

    def __init__(self, rows: Tensor, offsets: Tensor | None, lengths: Tensor | None) -> None:
        if rows.dim() not in (2, 3) or (rows.dim() == 2) != (offsets is not None):
            raise ValueError(
                "tensors must have 3 dimensions, or 2 with offsets, "
                f"got {tuple(rows.shape)} {'without' if offsets is None else 'with'} offsets"
            )
        if offsets is not None and lengths is not None:
            raise ValueError("lengths must be None when offsets are given")
        if offsets is not None and offsets.dim() == 1 and len(offsets) == 0:
            raise ValueError("offsets must have n + 1 entries, got none")
        self.count = rows.shape[0] if offsets is None else offsets.shape[0] - 1
        self._offsets = _index("offsets", offsets, rows, self.count + 1)
        self._lengths = _index("lengths", lengths, rows, self.count)
        self.longest = rows.shape[0] if offsets is not None else rows.shape[1]
        self.arguments = (
            self.count,
            0 if offsets is not None else rows.shape[1],
            rows.shape[0] if offsets is not None else 0,
            address_of(self._offsets),
            address_of(self._lengths),
        )

    def valid_rows(self, rows: Tensor) -> Tensor | int:
        """How many rows are no padding, at least 1."""
        if self._lengths is not None:
            return self._lengths.sum().clamp(min=1)
        return max(1, rows.shape[:-1].numel())


def address_of(value: Tensor | None) -> int:
    """Address of the first element; 0 stands for an absent tensor."""
    return 0 if value is None else value.data_ptr()


class PoolPlan:
    """A pooling's description for the kernels, and the memory that it needs meanwhile."""

    def __init__(
        self,
        sequences: Sequences,
        width: int,
        like: Tensor,
        *,
        pooling: str,
        direction: str,
        zoneout: float = 0.0,
        seed: Tensor | None = None,
    ) -> None:
        checked_probability("zoneout", zoneout)
        if zoneout and seed is None:
            raise ValueError(f"zoneout={zoneout!r} needs a seed")
        native = cuda.module()
        directions = 2 if direction == "both" else 1
        element = ELEMENTS[like.dtype]
        self.chunks, steps = native.plan(
            like.device.index, sequences.count * directions * width, sequences.longest, element
        )
        self._carries = None
        if self.chunks > 1:
            shape = (sequences.count, self.chunks, 2, directions * width)
            self._carries = torch.empty(shape, dtype=real_dtype(like.dtype), device=like.device)
        # A seed on the CPU, as a test may have it, goes over; functional draws it on the device.
        self._seed = seed.to(like.device) if zoneout and seed is not None else None
        self._sequences = sequences
        self.shape = native.PoolShape(
            sequences=sequences.arguments,
            width=width,
            direction=direction,
            pooling=POOLINGS[pooling],
            element=element,
            zoneout=threshold_of(zoneout),
            seed=address_of(self._seed),
            chunks=self.chunks,
            chunk_steps=steps,
            carries=address_of(self._carries),
        )


def widened(tensors: tuple[Tensor | None, ...]) -> Any:
    """In float32: what an odd number of 16-bit channels goes through."""
    return tuple(None if t is None else t.float() for t in tensors)


def narrowed(results: tuple[Tensor, ...], dtype: torch.dtype, count: int | None = None) -> Any:
    """The first ``count`` results (or all) in a dtype; the others are of arithmetic type."""
    count = len(results) if count is None else count
    return (*(t.to(dtype) for t in results[:count]), *results[count:])


def views_of(tensors: tuple[Tensor | None, ...]) -> tuple[Any, ...]:
    """Address and strides of each."""
    return tuple(map(view_of, tensors))
