#!/usr/bin/env -S uv run --script

# /// script
# dependencies = ["nox>=2025.2.9"]
# ///
"""Everyday tasks: `nox` runs what is marked as default, `nox -l` lists all."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"

# On Linux pip's default is a torch with gigabytes of CUDA libraries; point PIP_EXTRA_INDEX_URL at
# an index of CPU builds to avoid that.
TORCH = "torch==2.13.0"


@nox.session
def lint(session: nox.Session) -> None:
    """Run all pre-commit hooks."""
    session.install("pre-commit")
    session.run("pre-commit", "run", "--all-files", "--show-diff-on-failure", *session.posargs)


@nox.session
def mypy(session: nox.Session) -> None:
    """Check types, and _core.pyi against the compiled module."""
    session.install("mypy", ".")
    session.run("mypy")
    session.run("python", "-m", "mypy.stubtest", "pqrnn_native._core")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests without torch."""
    session.install(".[test]")
    session.run("pytest", "tests", *session.posargs)


@nox.session(default=False)
@nox.parametrize("torch", ["2.7.1", "2.13.0"])
def tests_torch(session: nox.Session, torch: str) -> None:
    """Run the tests with the oldest and the newest supported torch."""
    numpy = "numpy<2.3" if torch == "2.7.1" else "numpy"
    session.install(f"torch=={torch}", numpy)
    session.install(".[test]")
    session.run("pytest", "tests", *session.posargs)


@nox.session(default=False)
@nox.parametrize(
    "isa", ["reference", "generic", "avx2", "avx512", "avx512vnni", "amx", "neon_dotprod"]
)
def isa(session: nox.Session, isa: str) -> None:
    """Run the tests with one instruction set for the whole process."""
    session.install(".[test]")
    found = session.run(
        "python", "-c", "import pqrnn_native as p; print(*p.available_isas())", silent=True
    )
    if isa not in str(found).split():
        session.skip(f"{isa} is not available on this machine")
    session.run("pytest", "tests", *session.posargs, env={"PQRNN_ISA": isa})


@nox.session
@nox.parametrize("preset", ["cpp", "sanitize", nox.param("threads", tags=["threads"])])
def cpp(session: nox.Session, preset: str) -> None:
    """Build and run the C++ tests: plain, under ASan and UBSan, under TSan."""
    session.install("cmake", "ninja")
    session.run("cmake", "--preset", preset)
    session.run("cmake", "--build", "--preset", preset)
    session.run("ctest", "--preset", preset, *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Run the benchmarks against the rivals."""
    session.install(TORCH)
    session.install(".[bench]")
    session.run("pytest", "--benchmark-only", *session.posargs)


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Build the documentation, warnings are errors."""
    session.install(".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session(default=False)
def review(session: nox.Session) -> None:
    """Ask sp-repo-review."""
    session.install("sp-repo-review", "repo-review[cli]", "validate-pyproject")
    session.run("repo-review", ".", *session.posargs)


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Build the sdist, and a wheel from it."""
    session.install("build", "check-sdist")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build")


@nox.session(default=False)
def everything(session: nox.Session) -> None:
    """Run .ci/run on a clean clone."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "pqrnn-native"
        session.run("git", "clone", "--quiet", ".", str(clone), external=True)
        session.run(str(clone / ".ci" / "run"), external=True)


if __name__ == "__main__":
    nox.main()
