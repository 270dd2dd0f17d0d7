"""Where a model is trained, and what that device does well."""

from __future__ import annotations

import os
import platform

import torch


def find_device(name: str | None) -> torch.device:
    """A device by its name; None: a GPU if there is one. ``torchrun`` gives each process its own.

    Raises:
        ValueError: There is no such device.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        first = str(error).partition("\n")[0]
        raise ValueError(f"device must be one that torch has here, got {name!r}: {first}") from None
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def bfloat16_pays(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices faster than float32 ones.

    A CPU without instructions for it emulates them, at a tenth of the speed.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
