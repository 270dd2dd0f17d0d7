"""A fresh interpreter to the first vector: import, load and encode, beyond NumPy's own import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import bench_rivals
import bench_tools
import pytest

import pqrnn_native as pq

# Each prints the seconds from after `import numpy` to the first vector, then the vector's length.
_CLOCK = """
import sys, time, numpy
start = time.perf_counter()
{body}
print(time.perf_counter() - start, vector.size)
"""
OURS = "import pqrnn_native as pq; vector = pq.encode('A man plays a guitar.')"
RIVAL = """
sys.path.insert(0, {here!r})
import bench_rivals
from pathlib import Path
vector = {load}(['A man plays a guitar.'])[0]
"""


def _start(body: str, size: int) -> float:
    env = {**os.environ, "PYTHONPATH": str(Path(pq.__file__).resolve().parent.parent)}
    code = _CLOCK.format(body=body)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    seconds, found = done.stdout.split()
    assert int(found) == size
    return float(seconds)


def _rival(load: str) -> str:
    return RIVAL.format(here=str(Path(__file__).resolve().parent), load=load)


@pytest.mark.benchmark(group="cold start: import, load, first encode")
def test_cold_start(request, benchmark, record_ratio):
    dim = pq.load("default").dim
    rivals = {}
    try:
        folder = bench_rivals.minilm_folder()
        graph = bench_rivals.minilm_graph(request.config.cache.mkdir("pqrnn-bench"))
        load = f"bench_rivals.load_minilm(Path({str(graph)!r}), Path({str(folder)!r}))"
        rivals["MiniLM fp32, onnxruntime"] = (_rival(load), 384)
    except pytest.skip.Exception as reason:
        print(reason)
    try:
        bench_rivals.need("wordllama")
        rivals["WordLlama"] = (_rival("bench_rivals.load_wordllama()"), 256)
    except pytest.skip.Exception as reason:
        print(reason)

    rounds = bench_tools.rounds_wanted(7)
    times: dict[str, list[float]] = {"ours": [], **{name: [] for name in rivals}}
    _start(OURS, dim)  # the file cache is warm from here on, for everybody
    for _ in range(rounds):
        times["ours"].append(_start(OURS, dim))
        for name, (body, size) in rivals.items():
            times[name].append(_start(body, size))
    benchmark.pedantic(_start, args=(OURS, dim), rounds=rounds)
    for name, seconds in times.items():
        benchmark.extra_info[f"{name}: best ms beyond numpy"] = round(1e3 * min(seconds), 1)
    record_ratio(bench_tools.Ratio("150 ms", times["ours"], [0.15]), 1.0)
    for name in rivals:
        result = bench_tools.Ratio(name, times["ours"], times[name])
        record_ratio(result)
