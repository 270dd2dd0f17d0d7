"""Text to sentence vectors, end to end, against other encoders on one thread each."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import bench_rivals
import bench_tools
import numpy as np
import pytest

import pqrnn_native as pq
from pqrnn_native.config import PQRNNConfig, ProjectionConfig

# "One million weights" is the size the speed targets are stated for.
MILLION = PQRNNConfig(
    projection=ProjectionConfig(feature_size=512),
    bottleneck_size=256,
    state_size=128,
    num_layers=2,
)


@pytest.fixture(scope="module")
def million(tmp_path_factory):
    """A model of a million random weights: speed does not depend on their values."""
    numpy_files = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(5)
    tensors = {
        name: rng.normal(0, 0.05, shape).astype(np.float32)
        for name, shape in MILLION.tensor_shapes().items()
    }
    path = tmp_path_factory.mktemp("model") / "million.safetensors"
    metadata = {
        "format": "pqrnn", "format_version": "1", "config": MILLION.to_json(), "info": "{}",
    }  # fmt: skip
    numpy_files.save_file(tensors, path, metadata=metadata)
    assert 0.9e6 < sum(tensor.size for tensor in tensors.values()) < 1.1e6
    return pq.load(path)


@pytest.fixture(scope="module", params=["default", "multilingual", "million"])
def model(request):
    name = request.param
    return request.getfixturevalue(name) if name == "million" else pq.load(name)


@pytest.fixture(scope="module")
def minilm(tmp_path_factory, request):
    folder = bench_rivals.minilm_folder()
    graph = bench_rivals.minilm_graph(request.config.cache.mkdir("pqrnn-bench"))
    encode = bench_rivals.load_minilm(graph, folder)
    near, far = encode(["A man plays a guitar.", "Someone is playing guitar."]), encode(["Tax law"])
    assert near[0] @ near[1] > 0.8
    assert near[0] @ far[0] < 0.3
    return encode


@pytest.fixture(scope="module")
def wordllama():
    encode = bench_rivals.load_wordllama()
    assert np.allclose(np.linalg.norm(encode(["A man plays a guitar."]), axis=1), 1, atol=1e-3)
    return encode


@pytest.fixture(scope="module")
def floret(tmp_path_factory):
    folder = tmp_path_factory.mktemp("floret")
    texts, _ = bench_tools.sentences(4096)
    encode = bench_rivals.load_floret(bench_rivals.train_floret(texts, folder))
    assert np.linalg.norm(encode(texts[:1])) > 0
    return encode


Timed = Callable[[], object]
RIVALS = ("minilm", "wordllama", "floret")
NAMES = {"minilm": "MiniLM fp32, onnxruntime", "wordllama": "WordLlama", "floret": "floret"}


def _available(request: pytest.FixtureRequest, names: tuple[str, ...]) -> dict[str, object]:
    found = {}
    for name in names:
        try:
            found[NAMES[name]] = request.getfixturevalue(name)
        except pytest.skip.Exception as reason:
            print(f"without {name}: {reason}")
    return found


def _check(encode, texts) -> None:
    """Unit vectors, and those of a few texts alone: neighbours in a batch change nothing."""
    vectors = encode(texts)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for row in {0, len(texts) // 2, len(texts) - 1}:
        np.testing.assert_array_equal(vectors[row], encode([texts[row]])[0])


def _in_turn(batches: list[list[str]]) -> Callable[[Callable[[list[str]], object]], Timed]:
    """Makes ``encode`` take the next batch at each call.

    Our engine remembers what it computed for frequent words, so that timing one text again and
    again would time that memory; with thousands of sentences in turn, words repeat as they do in
    natural text.
    """

    def bind(encode: Callable[[list[str]], object]) -> Timed:
        following = itertools.cycle(batches)
        return lambda: encode(next(following))

    return bind


@pytest.mark.benchmark(group="encode: one sentence of 10 tokens")
def test_encode_one(request, benchmark, compare, model):
    texts, source = bench_tools.sentences(2000, tokens=(10, 10))
    _check(lambda some: model.encode(some, threads=1), texts[:8])
    fresh = _in_turn([[text] for text in texts])
    rivals = {name: fresh(encode) for name, encode in _available(request, RIVALS).items()}
    ours = fresh(lambda some: model.encode(some, threads=1))
    compare(ours, rivals, rounds=400, target={NAMES["minilm"]: 10})
    benchmark.extra_info["corpus"] = source
    benchmark.extra_info["p50 ms"] = round(1e3 * benchmark.stats.stats.median, 4)


@pytest.mark.benchmark(group="encode: a batch of sentences of 17 tokens")
@pytest.mark.parametrize("batch", [32, 256, 4096])
def test_encode_batch(request, benchmark, compare, model, batch):
    rounds = 5 if batch > 32 else 10
    calls = (rounds + 1) * (1 + len(RIVALS))
    texts, source = bench_tools.sentences(min(batch * calls, 12_288), tokens=(14, 20))
    batches = [texts[at : at + batch] for at in range(0, len(texts) - batch + 1, batch)]
    _check(lambda some: model.encode(some, threads=1), batches[0])
    names = RIVALS if batch <= 256 else RIVALS[1:]  # MiniLM needs a minute for 4,096
    fresh = _in_turn(batches)
    rivals = {name: fresh(encode) for name, encode in _available(request, names).items()}
    target = {NAMES["minilm"]: 25.0} if batch == 256 else {}
    ours = fresh(lambda some: model.encode(some, threads=1))
    compare(ours, rivals, rounds=rounds, target=target)
    benchmark.extra_info["corpus"] = source
    benchmark.extra_info["sentences/s"] = round(batch / benchmark.stats.stats.median)
    benchmark.extra_info["weights"] = model.config.parameter_count()
