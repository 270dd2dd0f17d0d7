"""What the build promises: a light import, pure C++ sources, honest objects, a whole sdist."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import pqrnn_native
from pqrnn_native import _core

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(pqrnn_native.__file__).resolve().parent

needs_sources = pytest.mark.skipif(
    not (ROOT / "CMakeLists.txt").is_file(), reason="the C++ sources are not beside the tests"
)


def run(*command: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def python(code: str) -> str:
    """Stdout of `code` in a fresh interpreter that finds the same pqrnn_native."""
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = run(sys.executable, "-c", code, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_brings_only_numpy_and_the_standard_library() -> None:
    names = python(
        "import sys; before = set(sys.modules); import pqrnn_native\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    ).split()
    outside = set(names) - set(sys.stdlib_module_names) - {"numpy", "pqrnn_native"}
    # Compiled NumPy registers Cython's helper modules under their own names.
    assert {name for name in outside if "cython" not in name} == set()
    assert "pqrnn_native" in names


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads in /proc")
def test_import_starts_no_thread() -> None:
    # NumPy first: its linear algebra library may start threads of its own.
    before, after = python(
        "import os, numpy; count = lambda: len(os.listdir('/proc/self/task'))\n"
        "before = count(); import pqrnn_native; print(before, count())"
    ).split()
    assert before == after


def test_import_leaves_the_environment_alone() -> None:
    code = (
        "import os, numpy; before = dict(os.environ); import pqrnn_native\n"
        "print(before == dict(os.environ))"
    )
    assert python(code).strip() == "True"


@needs_sources
def test_version_is_that_of_cmake() -> None:
    text = (ROOT / "CMakeLists.txt").read_text("utf-8")
    found = re.search(r"project\(pqrnn_native VERSION ([0-9.]+)", text)
    assert found is not None
    assert pqrnn_native.__version__ == found[1]


@needs_sources
def test_csrc_includes_neither_python_nor_torch() -> None:
    files = [
        path
        for path in (ROOT / "csrc").rglob("*")
        if path.suffix in (".h", ".cpp", ".inc", ".cu", ".cuh")
    ]
    assert len(files) > 20
    forbidden = re.compile(r'#\s*include\s*[<"](Python\.h|pybind11|torch|ATen|c10)')
    found = [str(path) for path in files if forbidden.search(path.read_text("utf-8"))]
    assert found == []


_NOT_KERNELS = ("cpu", "dispatch", "training_dispatch")


def weak_symbols(listing: str) -> list[str]:
    """Names of weak or unique symbols in the output of ``nm``: ``[address] type name``."""
    found = []
    for line in listing.splitlines():
        fields = line.split()
        kind, name = fields[-2:]
        if kind in ("W", "w", "V", "v", "u"):
            found.append(name)
    return found


def compiler() -> str:
    for name in ("cmake", "nm"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
    found = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if found is None:
        pytest.skip("no C++ compiler")
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF objects")
def test_weak_symbols_are_recognised(tmp_path: Path) -> None:
    cxx = compiler()
    source = tmp_path / "shared.cpp"
    source.write_text("inline int shared(int a) { return a; }\nint (*f)(int) = shared;\n")
    subprocess.run([*shlex.split(cxx), "-c", source.name, "-o", "o"], cwd=tmp_path, check=True)
    listing = run("nm", "o", cwd=tmp_path).stdout
    assert weak_symbols(listing) == ["_Z6sharedi"]


@needs_sources
@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF objects")
def test_no_weak_symbol_in_the_object_of_any_instruction_set(tmp_path: Path) -> None:
    """A shared inline function built with AVX flags could be linked into the baseline path."""
    compiler()
    configured = run(
        "cmake", "-S", str(ROOT), "-B", str(tmp_path), "-DPQRNN_PYTHON=OFF", "-DPQRNN_TESTS=OFF"
    )
    assert configured.returncode == 0, configured.stderr
    checked = []
    for entry in json.loads((tmp_path / "compile_commands.json").read_text("utf-8")):
        source = Path(entry["file"])
        if source.parent.name != "kernels" or source.stem in _NOT_KERNELS:
            continue
        command = shlex.split(entry["command"])
        output = tmp_path / f"{source.stem}.o"
        command[command.index("-o") + 1] = str(output)
        done = run(*command, cwd=entry["directory"])
        assert done.returncode == 0, done.stderr
        listing = run("nm", str(output)).stdout
        isa = source.stem.removeprefix("training_")
        table = "5table" if isa == source.stem else "14training_table"
        if isa == "amx":
            table = "11put_kernels"
        assert f"isa_{isa}{table}E" in listing
        assert weak_symbols(listing) == [], source.name
        checked.append(source.stem)
    assert {"reference", "generic"} < set(checked)
    for isa in _core.available_isas():
        files = {isa} if isa == "amx" else {isa, f"training_{isa}"}
        assert files <= set(checked)


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_stub_of_core_matches_the_compiled_module(tmp_path: Path) -> None:
    env = dict(os.environ)
    if "site-packages" not in PACKAGE.parts:
        env["MYPYPATH"] = env["PYTHONPATH"] = str(PACKAGE.parent)
    done = run(sys.executable, "-m", "mypy.stubtest", "pqrnn_native._core", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_sources
@pytest.mark.skipif(
    importlib.util.find_spec("scikit_build_core") is None, reason="needs scikit-build-core"
)
def test_sdist_is_whole_and_holds_nothing_else(tmp_path: Path) -> None:
    code = f"from scikit_build_core.build import build_sdist; build_sdist({str(tmp_path)!r})"
    done = run(sys.executable, "-c", code, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        files = {Path(*Path(name).parts[1:]).as_posix() for name in tar.getnames()}
    tracked = run("git", "ls-files", cwd=ROOT)
    if tracked.returncode == 0 and tracked.stdout:
        hidden = re.compile(r"\.ci/|\.github/|\.clang-format|\.pre-commit|\.readthedocs")
        wanted = {name for name in tracked.stdout.splitlines() if not hidden.match(name)}
        assert wanted - files == set()
    for name in ("LICENSE", "README.md", "pyproject.toml", "csrc/status.h", "tests/conftest.py"):
        assert name in files
    assert [name for name in files if name.endswith((".so", ".pyd", ".o", ".jsonl.gz"))] == []
    assert [name for name in files if name.split("/")[0] in ("shared", "build", "dist")] == []
