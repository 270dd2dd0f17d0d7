"""Time a model on this machine: latency, throughput, projection.

The text is made up: sentences of ten words of three to nine random letters. Their frequencies
follow Zipf's law over 50,000 words, as in natural text, since vectors of frequent words are cached;
one figure is for words that never come twice. These are plain timings for a first impression. The
comparisons with rivals and with the machine's limits are in the repository:
``pytest benchmarks --benchmark-only``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable

import numpy as np

from .. import Classifier, Encoder, Parser, Projection, load

_SENTENCES, _WORDS = 8192, 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default="default",
        metavar="MODEL",
        help="a file, or an embedded model's name (default: default)",
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="per figure")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(options: argparse.Namespace) -> None:
    if not options.seconds > 0:
        raise ValueError(f"--seconds must be positive, got {options.seconds!r}")
    model = load(options.model)
    answer = _answers(model)
    frequent, new = _sentences()

    def single(sentences: list[str]) -> Callable[[], object]:
        turn = itertools.cycle(sentences)
        return lambda: answer(next(turn), 1)

    starts = itertools.cycle(range(0, _SENTENCES, 256))

    def batch() -> None:
        start = next(starts)
        answer(frequent[start : start + 256], options.threads)

    projection = Projection(512)

    def project() -> None:
        projection.ragged(frequent)

    one = _times(single(frequent), options.seconds)
    unseen = _times(single(new), options.seconds)
    many = _times(batch, options.seconds)
    project_times = _times(project, options.seconds)
    tokens = _SENTENCES * _WORDS
    facts = {
        "isa": model.isa,
        "threads": options.threads,
        "one 10-word sentence, p50 in microseconds": 1e6 * statistics.median(one),
        "one 10-word sentence, p99 in microseconds": 1e6 * float(np.quantile(one, 0.99)),
        "10 words never seen before, p50 in microseconds": 1e6 * statistics.median(unseen),
        "batch of 256, sentences per second": 256 / statistics.median(many),
        "projection, 512 features, tokens per second": tokens / statistics.median(project_times),
    }
    if options.json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        print(f"{name:50} {value:,.1f}" if isinstance(value, float) else f"{name:50} {value}")


def _answers(
    model: Encoder | Classifier | Parser,
) -> Callable[[str | list[str], int | None], object]:
    """What a user of the model calls, with texts and threads."""
    if isinstance(model, Parser):
        return lambda texts, threads: model.parse(texts, threads=threads)
    if isinstance(model, Classifier):
        return lambda texts, threads: model.predict(texts, threads=threads)
    out = np.empty((256, model.dim), np.float32)
    return lambda texts, threads: model.encode(
        texts, threads=threads, out=None if isinstance(texts, str) else out
    )


def _sentences() -> tuple[list[str], list[str]]:
    """Sentences of Zipf-distributed words, and sentences of words of which none comes twice."""
    rng = np.random.default_rng(0)
    count = _SENTENCES * _WORDS

    def words(number: int) -> list[str]:
        letters = rng.integers(ord("a"), ord("z") + 1, (number, 9), dtype=np.uint8)
        return [bytes(row[: 3 + n % 7]).decode() for n, row in enumerate(letters)]

    vocabulary = words(50_000)
    weight = 1 / np.arange(2.0, len(vocabulary) + 2)
    frequent = [vocabulary[n] for n in rng.choice(len(vocabulary), count, p=weight / weight.sum())]

    def join(stream: list[str]) -> list[str]:
        return [" ".join(stream[n : n + _WORDS]) for n in range(0, count, _WORDS)]

    return join(frequent), join([f"{word}{n}" for n, word in enumerate(words(count))])


def _times(function: Callable[[], object], seconds: float) -> list[float]:
    function()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times
