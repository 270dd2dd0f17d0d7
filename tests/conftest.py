"""Fixtures shared by all tests: instruction sets, outside data, seeds, poisoned memory."""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import numpy as np
import pytest

from pqrnn_native import _core

ROOT = Path(__file__).resolve().parent.parent

# No deadlines, as nothing here may fail because a machine is slow. The same examples each time,
# so that a red test is about the change at hand; `--hypothesis-profile=search` looks for new ones.
_COMMON = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [
        hypothesis.HealthCheck.too_slow,
        # `isa` is the same for every example of a test, so sharing it is what we want.
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
}
hypothesis.settings.register_profile("pqrnn", derandomize=True, **_COMMON)
hypothesis.settings.register_profile("search", max_examples=1000, **_COMMON)
hypothesis.settings.load_profile("pqrnn")


@pytest.fixture(params=_core.available_isas() if "PQRNN_ISA" not in os.environ else [_core.isa()])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Name of the active instruction set; a test using this runs once on each available one.

    With PQRNN_ISA in the environment it runs on that one only.
    """
    before = _core.isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of outside data (``conformance/``, ``data/``); skips where there is none."""
    path = Path(os.environ.get("PQRNN_SHARED") or ROOT.parent / "shared")
    if not path.is_dir():
        pytest.skip(f"no outside data at {path} (set PQRNN_SHARED to its folder)")
    return path


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers from the test's own id, so that order and selection do not matter."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(autouse=True)
def _seed_torch(request: pytest.FixtureRequest) -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(zlib.crc32(request.node.nodeid.encode()))


class _Poisoned(ModuleType):
    """A module whose ``empty`` functions return memory full of NaN (integers: 77)."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(module.__name__)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if name not in ("empty", "empty_like", "empty_strided"):
            return value

        def poisoned(*args: Any, **kwargs: Any) -> Any:
            out = value(*args, **kwargs)
            is_float = (
                out.dtype.is_floating_point if hasattr(out, "fill_") else out.dtype.kind == "f"
            )
            out[...] = float("nan") if is_float else 77
            return out

        return poisoned


@pytest.fixture(autouse=True)
def _poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every output our package allocates start as NaN: a kernel that skips one is seen."""
    for module, name in (
        ("pqrnn_native.base", "np"),
        ("pqrnn_native.projection", "np"),
        ("pqrnn_native.nn.ops.attention", "torch"),
        ("pqrnn_native.nn.ops.layout", "torch"),
        ("pqrnn_native.nn.ops.packed", "torch"),
        ("pqrnn_native.nn.ops.packed_norm", "torch"),
        ("pqrnn_native.nn.ops.pooling", "torch"),
        ("pqrnn_native.nn.ops.scan", "torch"),
    ):
        if module in sys.modules and hasattr(sys.modules[module], name):
            real = getattr(sys.modules[module], name)
            monkeypatch.setattr(sys.modules[module], name, _Poisoned(real))
