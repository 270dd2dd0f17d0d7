"""One thread but for training, machine facts in every record, a table of ratios at the end."""

from __future__ import annotations

import os

# Before NumPy or a rival starts its threads: figures are for one thread, training's for more, which
# it tells torch itself.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("PQRNN_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import sys
from collections.abc import Callable, Iterator
from typing import Any

import bench_tools
import pytest

_ROWS = pytest.StashKey[list[tuple[str, bench_tools.Ratio, float | None]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --benchmark-only, leaves tests out quietly instead of listing hundreds as skipped."""
    if config.getoption("benchmark_only", default=False):
        timed = [item for item in items if "benchmark" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(timed)])
        items[:] = timed


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, object]
) -> None:
    machine_info.update(bench_tools.machine())


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    if torch:
        torch.set_num_threads(1)
    yield
    if torch:
        torch.set_num_threads(before)


Record = Callable[[bench_tools.Ratio, float | None], None]
Compare = Callable[..., dict[str, bench_tools.Ratio]]


@pytest.fixture
def record_ratio(request: pytest.FixtureRequest, benchmark: Any) -> Record:
    """Puts one ratio into the benchmark's record and the table at the end."""

    def record(result: bench_tools.Ratio, target: float | None = None) -> None:
        benchmark.extra_info[f"median ratio to {result.label}"] = round(result.median, 3)
        benchmark.extra_info[f"best ratio to {result.label}"] = round(result.best, 3)
        request.config.stash[_ROWS].append((request.node.name, result, target))

    return record


@pytest.fixture
def compare(benchmark: Any, record_ratio: Record) -> Compare:
    """Benchmark ours, then set it against each rival in turns and record the ratios.

    ``compare(ours, rivals, rounds=20, work={}, target={})``: `rivals` maps a label to a function;
    `work` scales a rival (see ``Ratio``); `target` is the ratio this project wants to reach, shown
    in the table. Nothing fails on a slow machine.
    """

    def compare(
        ours: Callable[[], object],
        rivals: dict[str, Callable[[], object]],
        *,
        rounds: int = 20,
        work: dict[str, float] | None = None,
        target: dict[str, float] | None = None,
    ) -> dict[str, bench_tools.Ratio]:
        benchmark.pedantic(ours, rounds=bench_tools.rounds_wanted(rounds), warmup_rounds=1)
        found = {}
        for label, rival in rivals.items():
            result = bench_tools.ratio(
                ours, rival, rounds, label=label, work=(work or {}).get(label, 1.0)
            )
            found[label] = result
            record_ratio(result, (target or {}).get(label))
        return found

    return compare


def _seconds(value: float) -> str:
    units = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
    unit = next((name for name, scale in units.items() if value * scale >= 1), "ns")
    number = value * units[unit]
    return f"{number:.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = terminalreporter.config.stash.get(_ROWS, [])
    if not rows:
        return
    threads = bench_tools.TRAINING_THREADS
    terminalreporter.section(
        f"how many times faster, one thread (training {threads}), timed in turns"
    )
    facts = bench_tools.machine()
    terminalreporter.write_line(", ".join(f"{key} {value}" for key, value in facts.items()))
    head = f"{'benchmark':<44} {'against':<28} {'ours':>9} {'theirs':>9} {'median':>7} {'best':>7}"
    terminalreporter.write_line(f"{head}  wanted")
    for name, result, target in rows:
        terminalreporter.write_line(
            f"{name.removeprefix('test_'):<44} {result.label:<28} "
            f"{_seconds(min(result.ours)):>9} {_seconds(min(result.rival)):>9} "
            f"{result.median:>7.3g} {result.best:>7.3g}  " + (f"{target:.3g}" if target else "")
        )
