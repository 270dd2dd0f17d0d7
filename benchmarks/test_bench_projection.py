"""Text to hash codes and to ternary features: tokens a second, against writing the same bytes."""

from __future__ import annotations

import bench_rivals
import bench_tools
import numpy as np
import pytest

import pqrnn_native as pq

TEXTS, SOURCE = bench_tools.sentences(1000, tokens=(10, 24))


def _check(projection: pq.Projection, features: np.ndarray, offsets: np.ndarray) -> int:
    """Every row is what the slow path says of that token; returns the number of tokens."""
    assert offsets[-1] == len(features)
    assert set(np.unique(features)) <= {-1, 0, 1}
    for row in (0, len(TEXTS) // 2, len(TEXTS) - 1):
        for place, word in enumerate(projection.words(TEXTS[row])):
            codes = projection.codes(word)
            groups = [codes[j // 32] >> (2 * (j % 32)) & 3 for j in range(features.shape[1])]
            expected = np.array([0, 1, -1, 0], np.int8)[groups]
            np.testing.assert_array_equal(features[offsets[row] + place], expected)
    return len(features)


def _record(benchmark: object, tokens: int) -> None:
    seconds = benchmark.stats.stats.median  # type: ignore[attr-defined]
    benchmark.extra_info["corpus"] = SOURCE  # type: ignore[attr-defined]
    benchmark.extra_info["tokens"] = tokens  # type: ignore[attr-defined]
    benchmark.extra_info["million tokens/s"] = round(tokens / seconds / 1e6, 3)  # type: ignore[attr-defined]


@pytest.mark.benchmark(group="hash: split and one 128-bit hash a token")
@pytest.mark.parametrize("hash_name", ["murmur", "xfixhash32", "unicodehash16"])
def test_hash(benchmark, compare, hash_name):
    projection = pq.Projection(64, split="space", hash=hash_name)
    features, offsets = projection.ragged(TEXTS)
    split = {"str.split": lambda: [text.lower().split(" ") for text in TEXTS]}
    compare(lambda: projection.ragged(TEXTS), split, rounds=30)
    _record(benchmark, len(features))
    assert offsets[-1] == sum(len(text.split(" ")) for text in TEXTS)


@pytest.mark.benchmark(group="projection: text to [tokens, 512]")
@pytest.mark.parametrize("split", ["space", "words"])
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_projection(benchmark, compare, record_ratio, split, dtype):
    projection = pq.Projection(512, split=split)
    features, offsets = projection.ragged(TEXTS, dtype=np.dtype(dtype))
    tokens = _check(projection, features, offsets)
    same = np.empty_like(features)
    rivals = {
        "writing the bytes": lambda: same.fill(1),
    }
    found = compare(lambda: projection.ragged(TEXTS, dtype=np.dtype(dtype)), rivals, rounds=30)
    if dtype == "int8":
        # Wanted: ten million tokens a second, or half the speed of writing if that is less.
        write = found["writing the bytes"]
        pace = bench_tools.Ratio("10 million tokens a second", write.ours, [tokens / 1e7])
        record_ratio(pace, min(1.0, tokens / 1e7 / (2 * min(write.rival))))
    _record(benchmark, tokens)


@pytest.mark.benchmark(group="projection: half of the features from character n-grams")
@pytest.mark.parametrize("size", [1024, 4096])
def test_ngrams(benchmark, compare, size):
    plain = pq.Projection(size)
    projection = pq.Projection(size, ngram_size=size // 2)
    features, offsets = projection.ragged(TEXTS)
    whole, same_offsets = plain.ragged(TEXTS)
    np.testing.assert_array_equal(offsets, same_offsets)
    np.testing.assert_array_equal(features[:, : size // 2], whole[:, : size // 2])
    del features, whole
    # Wanted: at most twice the time.
    rivals = {"without n-grams": lambda: plain.ragged(TEXTS)}
    target = {"without n-grams": 0.5}
    compare(lambda: projection.ragged(TEXTS), rivals, rounds=60, target=target)
    _record(benchmark, int(offsets[-1]))


@pytest.mark.benchmark(group="projection: hashed features, without their zeros")
def test_hashed(benchmark, compare):
    hashed = pq.Projection(8192, ngram_size=2048, ngram_runs=False, token_hashes=8, ngram_hashes=2)
    plain = pq.Projection(8192, ngram_size=2048, ngram_runs=False)
    (starts, columns, signs), index, offsets = hashed.ragged_nonzero(TEXTS)
    rows, same_index, same_offsets = hashed.ragged_unique(TEXTS)
    np.testing.assert_array_equal(index, same_index)
    np.testing.assert_array_equal(offsets, same_offsets)
    where = np.nonzero(rows)
    np.testing.assert_array_equal(np.repeat(np.arange(len(rows)), np.diff(starts)), where[0])
    np.testing.assert_array_equal(columns, where[1])
    np.testing.assert_array_equal(signs, rows[where])
    del rows, where
    # Wanted: no more time than half of all features take.
    rivals = {"half of all, with zeros": lambda: plain.ragged_unique(TEXTS)}
    target = {"half of all, with zeros": 1.0}
    compare(lambda: hashed.ragged_nonzero(TEXTS), rivals, rounds=20, target=target)
    _record(benchmark, int(offsets[-1]))


@pytest.mark.benchmark(group="projection: text to features, with rivals")
def test_projection_against_sklearn(benchmark, compare):
    text = bench_rivals.need("sklearn.feature_extraction.text")
    vectorizer = text.HashingVectorizer(n_features=512, norm=None)
    projection = pq.Projection(512)
    features, offsets = projection.ragged(TEXTS)
    tokens = _check(projection, features, offsets)
    assert vectorizer.transform(TEXTS).shape == (len(TEXTS), 512)
    # It sums a text's words into one row; we write one row a word.
    rivals = {"HashingVectorizer(512)": lambda: vectorizer.transform(TEXTS)}
    compare(lambda: projection.ragged(TEXTS), rivals, rounds=15)
    _record(benchmark, tokens)
