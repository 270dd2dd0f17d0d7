"""What holds with CUDA kernels or without, with a device or without."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import pqrnn_native as pq
from pqrnn_native import cuda


def test_status_says_why() -> None:
    status = cuda.status()
    assert bool(status) == status.on
    assert status.reason
    assert str(status) == f"CUDA is {'on' if status.on else 'off'}: {status.reason}"
    if not cuda.is_built():
        assert not status
        assert "PQRNN_CUDA=1" in status.reason


def test_status_imports_neither_torch_nor_anything_else() -> None:
    code = "import sys, pqrnn_native as pq; pq.cuda.status(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "is_built", lambda: True)
    monkeypatch.setitem(sys.modules, "pqrnn_native._cuda", None)  # importing it now fails


@pytest.mark.usefixtures("broken")
def test_kernels_that_cannot_be_loaded() -> None:
    assert not cuda.status()
    assert "cannot be loaded" in cuda.status().reason
    with pytest.raises(RuntimeError, match="no CUDA kernels"):
        cuda.module()


class _Fake:
    def __init__(self, count: int, reason: str) -> None:
        self.found = count, reason

    def device_count(self) -> Any:
        return self.found


@pytest.mark.parametrize(
    ("count", "reason", "expected"),
    [
        (0, "no driver", "CUDA is off: no device can be used: no driver"),
        (1, "", "CUDA is on: 1 device"),
        (2, "", "CUDA is on: 2 devices"),
    ],
)
def test_devices(monkeypatch: pytest.MonkeyPatch, count: int, reason: str, expected: str) -> None:
    monkeypatch.setattr(cuda, "is_built", lambda: True)
    monkeypatch.setattr(cuda, "module", lambda: _Fake(count, reason))
    assert str(cuda.status()) == expected


def test_cuda_is_a_public_name() -> None:
    assert "cuda" in dir(pq)
    assert pq.cuda is cuda
