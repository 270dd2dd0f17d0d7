"""Projection(token_hashes=..., ngram_hashes=...): a few non-zero features instead of half of all.

Random texts and settings are compared with the twin in ``test_projection_twin``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pqrnn_native.projection import Nonzero, Projection

TEXTS = ["Wake me up at 7:30, please!", "", "ปลุกฉันพรุ่งนี้ 你好", "a a b"]


def signed(project: Projection, word: str) -> dict[int, int]:
    """The non-zero features of a word by itself."""
    groups = [code >> shift & 3 for code in project.codes(word) for shift in range(0, 64, 2)]
    return {place: (0, 1, -1, 0)[group] for place, group in enumerate(groups) if group % 3}


@pytest.mark.parametrize(
    ("word", "size", "expected"),
    [
        # From the published fingerprints and the formulas of the documentation, step by step.
        ("a", 64, {30: 1, 57: -1}),
        ("alarm", 64, {3: 1, 46: 1}),
        ("", 64, {20: -1, 50: 1}),
        ("internationally", 992, {36: -1, 241: -1, 567: -1, 770: 1, 936: 1}),
    ],
)
def test_whole_tokens(word: str, size: int, expected: dict[int, int]) -> None:
    assert signed(Projection(size, token_hashes=len(expected)), word) == expected


def test_ngrams() -> None:
    single = Projection(96, ngram_size=96, ngram_min=1, ngram_max=1, ngram_hashes=3)
    a, b = {7: -1, 32: -1, 74: 1}, {20: -1, 63: -1, 91: -1}
    assert signed(single, "a") == a
    assert signed(single, "abba") == {**a, **b}
    pair = Projection(64, ngram_size=64, ngram_min=2, ngram_max=2, ngram_hashes=2)
    assert signed(pair, "a").items() >= {26: 1, 51: -1}.items()  # of U+0002 and a


def test_disagreeing_ngrams_cancel(isa: str) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    one = Projection(32, ngram_size=32, ngram_min=1, ngram_max=1, ngram_hashes=1)
    said = {letter: signed(one, letter) for letter in letters}
    place = next(p for p in range(32) if {1, -1} <= {s[p] for s in said.values() if p in s})
    speakers = "".join(letter for letter in letters if place in said[letter])
    assert not signed(one, speakers)
    assert not one.ragged(speakers)[0].any()


def test_numbers_of_features(isa: str) -> None:
    project = Projection(1024, ngram_size=256, token_hashes=8, ngram_hashes=2, ngram_runs=False)
    rows = project.ragged(TEXTS)[0]
    assert (np.count_nonzero(rows[:, :768], axis=1) == 8).all()
    # In each part of 96 one: 8 parts of 768.
    assert (np.count_nonzero(rows[:, :768].reshape(len(rows), 8, 96), axis=2) == 1).all()
    # "me" has n-grams of 2 to 4 characters among four: six of them.
    of_me = np.count_nonzero(project.ragged("me")[0][0, 768:])
    assert 6 < of_me <= 12


@pytest.mark.parametrize("ngrams", [0, 256])
def test_the_rest_is_as_without_hashes(ngrams: int, isa: str) -> None:
    """Tokens, their order, and the half that is not hashed."""
    plain = Projection(512, ngram_size=ngrams).ragged(TEXTS)
    words = Projection(512, ngram_size=ngrams, token_hashes=4).ragged(TEXTS)
    np.testing.assert_array_equal(plain[1], words[1])
    np.testing.assert_array_equal(plain[0][:, 512 - ngrams :], words[0][:, 512 - ngrams :])
    if ngrams:
        both = Projection(512, ngram_size=ngrams, ngram_hashes=4).ragged(TEXTS)[0]
        np.testing.assert_array_equal(plain[0][:, : 512 - ngrams], both[:, : 512 - ngrams])
        assert np.count_nonzero(both) < np.count_nonzero(plain[0])


def test_extra_features_keep_their_columns(isa: str) -> None:
    options: dict[str, Any] = {"first_cap": 1.0, "all_caps": 1.0, "novelty_bits": 2}
    plain = Projection(64, **options).ragged("Wake ME me", dtype=np.float32)[0]
    hashed = Projection(64, token_hashes=32, **options).ragged("Wake ME me", dtype=np.float32)[0]
    np.testing.assert_array_equal(plain[:, [60, 61, 63]], hashed[:, [60, 61, 63]])
    assert (np.count_nonzero(hashed[:, :60], axis=1) >= 30).all()


@pytest.mark.parametrize(
    "options",
    [
        {"feature_size": 640, "token_hashes": 5},
        {"feature_size": 640, "token_hashes": 5, "ngram_size": 320, "ngram_hashes": 3},
        {"feature_size": 640, "token_hashes": 5, "ngram_size": 320},
        {"feature_size": 100},
    ],
)
def test_nonzero(options: dict[str, Any], isa: str) -> None:
    project = Projection(**options)
    rows, index, offsets = project.ragged_unique(TEXTS)
    nonzero, same_index, same_offsets = project.ragged_nonzero(TEXTS)
    np.testing.assert_array_equal(index, same_index)
    np.testing.assert_array_equal(offsets, same_offsets)
    assert [part.dtype for part in nonzero] == [np.int64, np.int64, np.int8]
    where = np.nonzero(rows)
    row_of = np.repeat(np.arange(len(rows)), np.diff(nonzero.starts))
    np.testing.assert_array_equal(row_of, where[0])
    np.testing.assert_array_equal(nonzero.columns, where[1])
    np.testing.assert_array_equal(nonzero.signs, rows[where])


def test_nonzero_of_nothing() -> None:
    nonzero, index, offsets = Projection(64, token_hashes=2).ragged_nonzero([""])
    assert isinstance(nonzero, Nonzero)
    assert [len(part) for part in (*nonzero, index, offsets)] == [1, 0, 0, 0, 2]


def test_nonzero_refuses_extra_features() -> None:
    with pytest.raises(ValueError, match=r"ragged_nonzero\(\) .* without extras, .*first_cap=1.0"):
        Projection(64, token_hashes=2, first_cap=1.0).ragged_nonzero("a")
    with pytest.raises(TypeError, match=r"texts\[0\]"):
        Projection(64, token_hashes=2).ragged_nonzero([3])  # type: ignore[list-item]


def test_places_and_signs_are_even() -> None:
    project = Projection(512, token_hashes=2)
    words = [f"{a}{b}{c}" for a in "abcdefghij" for b in range(20) for c in "klmnopqrst"]
    rows = project.ragged(" ".join(words))[0]
    # Five standard deviations of a binomial distribution.
    counts = np.abs(rows).sum(0, dtype=np.int64)
    mean = 2 * len(rows) / 512
    assert np.abs(counts - mean).max() < 5 * np.sqrt(mean)
    assert abs(int((rows == 1).sum()) - len(rows)) < 5 * np.sqrt(len(rows) / 2)


def test_distortion_and_seeds() -> None:
    project = Projection(256, token_hashes=4, distortion=1.0, split="space")
    words = project.words("wake me up tomorrow", seed=3)
    alone = [Projection(256, token_hashes=4, split="space").codes(word) for word in words]
    nonzero, index, _ = project.ragged_nonzero("wake me up tomorrow", seed=3)
    for word, row in enumerate(index):
        first, end = nonzero.starts[row : row + 2]
        groups = [code >> shift & 3 for code in alone[word] for shift in range(0, 64, 2)]
        assert nonzero.columns[first:end].tolist() == [p for p, g in enumerate(groups) if g]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"token_hashes": -1}, ValueError, r"token_hashes must be in \[0, 128\], got -1"),
        ({"token_hashes": 129}, ValueError, "token_hashes .* got 129"),
        ({"token_hashes": 97, "ngram_size": 32}, ValueError, r"in \[0, 96\], got 97"),
        ({"token_hashes": 1, "ngram_size": 128}, ValueError, r"in \[0, 0\], got 1"),
        ({"ngram_hashes": 33, "ngram_size": 32}, ValueError, r"ngram_hashes must be in \[0, 32\]"),
        ({"token_hashes": 2.0}, TypeError, "token_hashes must be int, got 2.0"),
        (
            {"token_hashes": 2, "feature_size": 100},
            ValueError,
            "feature_size must be a multiple of 32 with token_hashes=2, got 100",
        ),
        (
            {"token_hashes": 2, "hash": "xfixhash8"},
            ValueError,
            "hash must be 'murmur' with token_hashes=2, got 'xfixhash8'",
        ),
    ],
)
def test_bad_settings(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Projection(**{"feature_size": 128, **options})


def test_settings_come_back() -> None:
    project = Projection(256, token_hashes=4, ngram_size=64, ngram_hashes=2)
    assert Projection(**dataclasses.asdict(project.config)) == project
    assert repr(project).endswith("ngram_size=64, token_hashes=4, ngram_hashes=2)")
