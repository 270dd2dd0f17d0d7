"""The files in tests/golden are what their scripts make."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


def script(name: str) -> ModuleType:
    path = ROOT / "scripts" / f"{name}.py"
    if not path.is_file():
        pytest.skip("the scripts are not beside the tests")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_projection_is_that_of_the_twin() -> None:
    module = script("make_golden_projection")
    written = (ROOT / "tests" / "golden" / "projection.txt").read_text("ascii").splitlines()
    assert written == list(module.from_twin())
    # FNV-1a of nothing and of "a", from its definition's published test vectors.
    assert module.fnv1a(b"") == 0xCBF29CE484222325
    assert module.fnv1a(b"a") == 0xAF63DC4C8601EC8C


def test_published_features_take_the_same_form(shared: Path, tmp_path: Path) -> None:
    path = shared / "conformance" / "projection_public.jsonl"
    if not path.is_file():
        pytest.skip(f"no conformance vectors at {path}")
    lines = list(script("make_golden_projection").published(path))
    assert len([line for line in lines if not line.startswith("{")]) > 4000
