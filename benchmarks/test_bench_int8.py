"""The 8-bit engine against the machine's own limits, the float32 engine and MiniLM.

Grouped by instruction set: run with ``PQRNN_ISA`` set for another than the best one.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from pathlib import Path

import bench_rivals
import bench_tools
import numpy as np
import pytest

import pqrnn_native as pq
from pqrnn_native import _core
from pqrnn_native.checkpoint import save_model
from pqrnn_native.config import PQRNNConfig, ProjectionConfig

# The paper's model of two million weights; speed does not depend on their values.
PAPER = PQRNNConfig(projection=ProjectionConfig(feature_size=1024))
ISA = _core.isa()


def _random_model(config: PQRNNConfig, path: Path) -> pq.Encoder:
    rng = np.random.default_rng(5)
    tensors = {
        name: np.abs(rng.normal(1, 0.1, shape)) if name.endswith(".range")
        else rng.normal(0, 1.5 / np.sqrt(np.prod(shape[1:])), shape)
        for name, shape in config.tensor_shapes().items()
    }  # fmt: skip
    dtype = "float32" if config.precision == "float32" else None
    save_model(path, config, tensors, dtype=dtype)
    model = pq.load(path)
    assert isinstance(model, pq.Encoder)
    return model


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """The paper's model in 8 bits and in float32."""
    folder = tmp_path_factory.mktemp("paper")
    whole = dataclasses.replace(PAPER, precision="int8")
    return _random_model(whole, folder / "int8"), _random_model(PAPER, folder / "float32")


@pytest.fixture(scope="module")
def minilm(request):
    folder = bench_rivals.minilm_folder()
    graph = bench_rivals.minilm_graph(request.config.cache.mkdir("pqrnn-bench"))
    return bench_rivals.load_minilm(graph, folder)


@pytest.fixture(scope="module")
def minilm_int8(request, minilm):
    graph = bench_rivals.minilm_graph(request.config.cache.mkdir("pqrnn-bench"))
    encode = bench_rivals.load_minilm(
        bench_rivals.minilm_int8_graph(graph), bench_rivals.minilm_folder()
    )
    texts = ["A man plays a guitar.", "Tax law"]
    assert (encode(texts) * minilm(texts)).sum(axis=1).min() > 0.95
    return encode


def _peak() -> float:
    """Multiply-adds a second of products whose operands never leave their registers."""
    rounds = 400_000
    best = min(bench_tools.timed(lambda: _core.int8_peak(rounds)) for _ in range(5))
    return _core.int8_peak(rounds) / best


def _read_bandwidth() -> float:
    """Bytes a second that one core reads from the last cache: 8 MB, more than the others hold."""
    data = np.arange(8 << 20, dtype=np.uint8)
    return data.nbytes / min(bench_tools.timed(data.max) for _ in range(20))


def _features_read(config: PQRNNConfig) -> int:
    """Features that a token is a sum over: all of them, or of hashed ones those that are not 0."""
    if not config.projection.token_hashes:
        return config.projection.feature_size
    projection = pq.Projection(**dataclasses.asdict(config.projection))
    nonzero = projection.ragged_nonzero(_sentences(200, (10, 10)))[0]
    return round(len(nonzero.columns) / (len(nonzero.starts) - 1))


def _token_multiply_adds(config: PQRNNConfig) -> int:
    """Of one token, nothing remembered; heads not counted."""
    directions = 2 if config.bidirectional else 1
    rows = config.gates * config.state_size * config.kernel_size * directions
    low = config.bottleneck_size * (_features_read(config) + rows)
    return low + (config.num_layers - 1) * rows * directions * config.state_size


def _sentences(count: int, tokens: tuple[int, int]) -> list[str]:
    return bench_tools.sentences(count, tokens=tokens)[0]


@pytest.mark.benchmark(group=f"int8 products, {ISA}")
@pytest.mark.parametrize("rows", [1, 32, 256])
@pytest.mark.parametrize("shape", [(384, 512), (1536, 256), (256, 4096)], ids=str)
def test_int8_product(benchmark, record_ratio, rows, shape):
    rng = np.random.default_rng(1)
    weights = rng.integers(-127, 128, shape, dtype=np.int8)
    inputs = rng.integers(0, 256, (rows, shape[1]), dtype=np.uint8)
    out = np.empty((rows, shape[0]), np.int32)
    product = _core.Int8Product(weights)
    product(inputs, out)
    np.testing.assert_array_equal(out, inputs.astype(np.int64) @ weights.T.astype(np.int64))
    # As many multiply-adds in both turns, and about a millisecond of them.
    work = rows * shape[0] * shape[1]
    times = max(1, 300_000_000 // work)
    rounds = max(1, times * work // _core.int8_peak(1))

    def ours() -> None:
        for _ in range(times):
            product(inputs, out)

    benchmark.pedantic(ours, rounds=bench_tools.rounds_wanted(20), warmup_rounds=1)
    wanted = 0.6 if rows >= 32 else None
    label = "peak of the instruction set"
    result = bench_tools.ratio(ours, lambda: _core.int8_peak(rounds), 20, label=label)
    record_ratio(result, wanted)


@pytest.mark.benchmark(group=f"int8 encode: 256 sentences of 17 tokens, {ISA}")
def test_int8_paper_batch(request, benchmark, compare, paper):
    whole, real = paper
    texts = _sentences(12_288, (14, 20))
    batches = itertools.cycle([texts[at : at + 256] for at in range(0, len(texts), 256)])
    np.testing.assert_array_equal(
        whole.encode(texts[:64], threads=1), np.stack([whole.encode(t) for t in texts[:64]])
    )
    rivals = {"float32 engine": lambda: real.encode(next(batches), threads=1)}
    target = {"float32 engine": 3.0, "MiniLM fp32, onnxruntime": 60.0}
    try:
        encode = request.getfixturevalue("minilm")
        rivals["MiniLM fp32, onnxruntime"] = lambda: encode(next(batches))
    except pytest.skip.Exception as reason:
        print(f"without MiniLM: {reason}")
    compare(lambda: whole.encode(next(batches), threads=1), rivals, rounds=10, target=target)
    seconds = benchmark.stats.stats.median
    adds = 256 * 17 * _token_multiply_adds(whole.config)
    benchmark.extra_info["sentences/s"] = round(256 / seconds)
    benchmark.extra_info["share of peak, all tokens counted"] = round(adds / seconds / _peak(), 2)


@pytest.mark.benchmark(group=f"int8 encode: default model, 256 sentences of 17 tokens, {ISA}")
def test_int8_default_batch(request, benchmark, compare):
    model = pq.load("default")
    assert model.config.precision == "int8"
    texts = _sentences(12_288, (14, 20))
    batches = itertools.cycle([texts[at : at + 256] for at in range(0, len(texts), 256)])
    encode = bench_rivals.load_wordllama()
    compare(
        lambda: model.encode(next(batches), threads=1),
        {"WordLlama": lambda: encode(next(batches))},
        rounds=15,
        target={"WordLlama": 1.0},
    )
    adds = _token_multiply_adds(model.config)
    benchmark.extra_info["multiply-adds a token"] = adds
    benchmark.extra_info["sentences/s"] = round(256 / benchmark.stats.stats.median)
    benchmark.extra_info["sentences/s at peak, nothing remembered"] = round(_peak() / adds / 17)


@pytest.mark.benchmark(group=f"int8 encode: one sentence of 10 tokens, {ISA}")
@pytest.mark.parametrize("which", ["default", "paper"])
def test_int8_one(request, benchmark, record_ratio, paper, which):
    model = pq.load("default") if which == "default" else paper[0]
    texts = itertools.cycle(_sentences(2000, (10, 10)))
    benchmark.pedantic(
        lambda: model.encode(next(texts), threads=1),
        rounds=bench_tools.rounds_wanted(1500), warmup_rounds=20,
    )  # fmt: skip
    times = benchmark.stats.stats.data
    config = model.config
    unread = config.projection.feature_size - min(
        config.projection.feature_size, 10 * _features_read(config)
    )
    bytes_read = model.nbytes - unread * config.bottleneck_size
    adds = 10 * _token_multiply_adds(config)
    bound = 1.5 * max(bytes_read / _read_bandwidth(), adds / _peak()) + 10e-6
    benchmark.extra_info["p50 us"] = round(1e6 * float(np.median(times)), 1)
    benchmark.extra_info["bound us"] = round(1e6 * bound, 1)
    record_ratio(bench_tools.Ratio("1.5 x bytes or sums + 10 us", list(times), [bound]), 1.0)
    encode = request.getfixturevalue("minilm_int8")
    result = bench_tools.ratio(
        lambda: model.encode(next(texts), threads=1),
        lambda: encode([next(texts)]),
        200,
        label="MiniLM int8, onnxruntime",
    )
    record_ratio(result, 20.0)


@pytest.mark.benchmark(group=f"int8 encode: two threads, {ISA}")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_int8_two_threads(benchmark, compare, paper):
    texts = _sentences(12_288, (14, 20))
    batches = itertools.cycle([texts[at : at + 256] for at in range(0, len(texts), 256)])
    np.testing.assert_array_equal(
        paper[0].encode(texts[:256], threads=2), paper[0].encode(texts[:256], threads=1)
    )
    compare(
        lambda: paper[0].encode(next(batches), threads=2),
        {"one thread": lambda: paper[0].encode(next(batches), threads=1)},
        rounds=40,
        target={"one thread": 1.9},
    )
