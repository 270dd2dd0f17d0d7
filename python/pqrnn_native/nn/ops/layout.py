"""Checks, addresses and memory of the tensors that kernels read and write."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import _core, cuda

POOLINGS = ("f", "fo", "ifo")
GATES = {"f": 2, "fo": 3, "ifo": 4}
ELEMENTS = {torch.float32: 0, torch.bfloat16: 1, torch.float64: 2}
_ABSENT = (0, 0, 0)
_BIG = 4 << 20  # bytes; below that malloc hands out memory that it has touched before

_View = tuple[int, int, int]

CHECKPOINT_STEPS = 8  # between the states that CUDA kernels keep for a backward pass
_HAS_CUDA = cuda.is_built()


def has_kernels(device: torch.device) -> bool:
    """Whether the operators work on a device."""
    return device.type == "cpu" or (_HAS_CUDA and device.type == "cuda")


def has_float16(device: torch.device) -> bool:
    """Whether the operators take float16 there."""
    return _HAS_CUDA and device.type == "cuda"


def checked_rows(name: str, value: Tensor, like: Tensor) -> Tensor:
    """``value`` with neighbouring channels, of the dtype and shape that ``like`` has."""
    if value.dtype != like.dtype:
        raise TypeError(f"{name} must be {like.dtype} as the other tensors, got {value.dtype}")
    if value.shape != like.shape:
        raise ValueError(f"{name} must be of shape {tuple(like.shape)}, got {tuple(value.shape)}")
    return checked(value)


def checked(value: Tensor) -> Tensor:
    """``value`` with neighbouring channels, on a device and of a dtype that kernels take."""
    if value.device.type != "cpu":
        raise ValueError(f"tensors must be on one device, the CPU, got one on {value.device}")
    if value.dtype not in ELEMENTS:
        raise TypeError(f"dtype must be float32, bfloat16 or float64, got {value.dtype}")
    return value if value.stride(-1) == 1 or value.shape[-1] == 1 else value.contiguous()


def checked_state(
    name: str, value: Tensor | None, like: Tensor, shape: tuple[int, ...]
) -> Tensor | None:
    """An initial state, checked and contiguous."""
    if value is None:
        return None
    if value.dtype != like.dtype:
        raise TypeError(f"{name} must be {like.dtype} as the other tensors, got {value.dtype}")
    if tuple(value.shape) != shape:
        raise ValueError(f"{name} must be of shape {shape}, got {tuple(value.shape)}")
    return value.contiguous()


def address_of(value: Tensor | None) -> int:
    """Address of the first element; 0 stands for an absent tensor."""
    return 0 if value is None else value.data_ptr()


def view_of(value: Tensor | None, offset: int = 0) -> _View:
    """Address and strides; ragged tensors have no stride between sequences."""
    if value is None:
        return _ABSENT
    address = value.data_ptr() + offset * value.element_size()
    if value.dim() == 2:
        return address, 0, value.stride(0)
    return address, value.stride(0), value.stride(1)


def _index(name: str, value: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    if value is None:
        return None
    if value.dtype != torch.int64 or value.device.type != "cpu":
        raise TypeError(f"{name} must be int64 on the CPU, got {value.dtype} on {value.device}")
    if tuple(value.shape) != shape:
        raise ValueError(f"{name} must be of shape {shape}, got {tuple(value.shape)}")
    return value.contiguous()


class Sequences:
    """Which rows belong together; keeps the index tensors alive while a kernel runs."""

    def __init__(self, rows: Tensor, offsets: Tensor | None, lengths: Tensor | None) -> None:
        if rows.dim() not in (2, 3):
            raise ValueError(f"tensors must have 2 or 3 dimensions, got {tuple(rows.shape)}")
        if (rows.dim() == 2) != (offsets is not None):
            raise ValueError(
                f"offsets go with ragged tensors of 2 dimensions and only with them, "
                f"got shape {tuple(rows.shape)}"
            )
        if offsets is not None and lengths is not None:
            raise ValueError("lengths must be None when offsets are given")
        if offsets is not None and offsets.dim() == 1 and len(offsets) == 0:
            raise ValueError("offsets must have n + 1 entries, got none")
        self.count = rows.shape[0] if offsets is None else offsets.shape[0] - 1
        self._offsets = _index("offsets", offsets, (self.count + 1,))
        self._lengths = _index("lengths", lengths, (self.count,))
        steps = rows.shape[1] if offsets is None else 0
        self.arguments = (
            self.count,
            steps,
            rows.shape[0],
            address_of(self._offsets),
            address_of(self._lengths),
        )

    def lengths(self, rows: Tensor) -> Tensor:
        """Valid rows of each sequence, [n]."""
        if self._offsets is not None:
            return self._offsets.diff()
        if self._lengths is not None:
            return self._lengths
        return torch.full((self.count,), rows.shape[1])


def _is_time_major(like: Tensor) -> bool:
    # A fake sees the caller's tensor, a kernel what dense() made of it: without neighbouring
    # channels that is a batch-major copy, whatever the other strides were.
    neighbours = like.stride(-1) == 1 or like.shape[-1] == 1
    return neighbours and like.dim() == 3 and like.stride(0) < like.stride(1)


def empty_rows(like: Tensor, width: int) -> Tensor:
    """Uninitialised rows of another width in the memory order of ``like``."""
    if _is_time_major(like):
        batch, time, _ = like.shape
        return torch.empty(time, batch, width, dtype=like.dtype, device=like.device).transpose(0, 1)
    return torch.empty(*like.shape[:-1], width, dtype=like.dtype, device=like.device)


def new_rows(like: Tensor, width: int) -> Tensor:
    """:func:`empty_rows` for a kernel to fill; big ones in memory that is used again."""
    size = like.shape[:-1].numel() * width * like.element_size()
    if size < _BIG:
        return empty_rows(like, width)
    flat = torch.frombuffer(_core.Block(size), dtype=like.dtype)
    if _is_time_major(like):
        batch, time, _ = like.shape
        return flat.view(time, batch, width).transpose(0, 1)
    return flat.view(*like.shape[:-1], width)


def kept_states(like: Tensor, offsets: Tensor | None, pooling: str, width: int) -> Tensor:
    """Uninitialised: what a pooling of rows keeps for its backward pass.

    On the CPU all states c, [.., width]; nothing for pooling f, whose h is c. On a CUDA device the
    states before every eighth step, [slots, width], from which the others are computed again.
    """
    if like.device.type == "cuda":
        if offsets is None:
            slots = like.shape[0] * (-(-like.shape[1] // CHECKPOINT_STEPS))
        else:
            slots = like.shape[0] // CHECKPOINT_STEPS + offsets.shape[0] - 1
        return like.new_empty(slots, width)
    return like.new_empty(0) if pooling == "f" else empty_rows(like, width)


def saved_states(h: Tensor, c: Tensor, pooling: str) -> Tensor:
    """The one of a pooling's outputs that its backward pass wants."""
    return h if pooling == "f" and h.device.type != "cuda" else c


def checked_probability(name: str, value: float) -> float:
    """``value`` if it is a probability below 1."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}")
    return value


def threshold_of(probability: float) -> int:
    """What as many random words of 32 bits are below."""
    return min(round(probability * 2**32), 2**32 - 1)


def seed_of(seed: Tensor) -> int:
    """The 64 bits of a seed, unsigned."""
    return int(seed) % 2**64


def real_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type that sums are computed in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def threads_for(rows: Tensor) -> int:
    """As torch has it; one for less than 64 Ki elements, where waking a thread does not pay."""
    return torch.get_num_threads() if rows.numel() >= 1 << 16 else 1
