"""Time the embedded model on this machine: latency, throughput, projection.

These are plain timings for a first impression. The comparisons with rivals and with the machine's
limits are in the repository: ``pytest benchmarks --benchmark-only``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np

from .. import Encoder, Projection, load

_WORDS = (
    "please turn the kitchen lights off and play some quiet music for me when I come home from "
    "work tomorrow evening because it will rain again in the mountains near our old summer house"
).split()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="default", metavar="PATH")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="per figure")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(options: argparse.Namespace) -> None:
    if not options.seconds > 0:
        raise ValueError(f"--seconds must be positive, got {options.seconds!r}")
    encoder = load(options.model)
    if not isinstance(encoder, Encoder):
        raise ValueError(f"--model {options.model!r} is a {type(encoder).__name__}, not an encoder")
    rng = np.random.default_rng(0)
    sentences = [" ".join(rng.choice(_WORDS, 10)) for _ in range(4096)]
    out = np.empty((4096, encoder.dim), np.float32)
    turn = iter(range(1 << 62))

    def one() -> None:
        encoder.encode(sentences[next(turn) % 4096], threads=1)

    def batch() -> None:
        encoder.encode(sentences[:256], threads=options.threads, out=out[:256])

    projection = Projection(512)

    def project() -> None:
        projection.ragged(sentences)

    single = _times(one, options.seconds)
    many = _times(batch, options.seconds)
    project_times = _times(project, options.seconds)
    tokens = len(projection.ragged(sentences)[0])
    facts = {
        "isa": encoder.isa,
        "threads": options.threads,
        "one 10-token sentence, p50 in microseconds": 1e6 * statistics.median(single),
        "one 10-token sentence, p99 in microseconds": 1e6 * float(np.quantile(single, 0.99)),
        "batch of 256, sentences per second": 256 / statistics.median(many),
        "projection, 512 features, tokens per second": tokens / statistics.median(project_times),
    }
    if options.json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        print(f"{name:45} {value:,.1f}" if isinstance(value, float) else f"{name:45} {value}")


def _times(function: Callable[[], None], seconds: float) -> list[float]:
    function()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times
