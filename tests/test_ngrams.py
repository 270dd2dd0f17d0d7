"""Projection(ngram_size=...): worked-out values, what shares n-grams with what, every kind of text.

Random texts and settings are compared with the twin in ``test_projection_twin``.
"""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pqrnn_native.projection import Projection

THAI = "\u0e1b\u0e25\u0e38\u0e01\u0e09\u0e31\u0e19\u0e1e\u0e23\u0e38\u0e48\u0e07\u0e19\u0e35\u0e49"

# Code words of n-grams in a single slot, from the formulas of the documentation, step by step.
A = 0x996A95A55555569A
B = 0xA56956966565966A
BEGIN_A = 0x69A6A6A5959A6965
A_END = 0x999565AA699A66A9
KO_KAI = 0x66596AAA96556699


def ngrams_alone(size: int = 512, **options: Any) -> Projection:
    return Projection(size, ngram_size=size, **options)


def ngram_rows(project: Projection, text: str | bytes) -> npt.NDArray[Any]:
    return project.ragged(text)[0][:, project.feature_size - project.config.ngram_size :]


def test_one_slot() -> None:
    single = ngrams_alone(32, ngram_min=1, ngram_max=1)
    assert single.codes("a") == [A]
    assert single.codes("ab") == single.codes("ba") == single.codes("abba") == [A | B]
    assert single.codes("\u0e01") == [KO_KAI]
    assert ngrams_alone(32, ngram_min=2, ngram_max=2).codes("a") == [BEGIN_A | A_END]
    assert ngrams_alone(32, ngram_min=1, ngram_max=2).codes("a") == [A | BEGIN_A | A_END]


def test_slots() -> None:
    # The slots of the four n-grams among 16, by the same formulas.
    slots = [0] * 16
    slots[3], slots[10] = A, B
    assert ngrams_alone(512, ngram_min=1, ngram_max=1).codes("ab") == slots
    slots = [0] * 16
    slots[13], slots[14] = BEGIN_A, A_END
    assert ngrams_alone(512, ngram_min=2, ngram_max=2).codes("a") == slots


def test_several_words_of_an_ngram() -> None:
    for size in (1024, 1056, 2048, 4096):
        codes = ngrams_alone(size, ngram_min=1, ngram_max=1).codes("a")
        count = size // 512
        edges = [part * len(codes) // count for part in range(count + 1)]
        for first, end in pairwise(edges):
            assert sum(code != 0 for code in codes[first:end]) == 1
    for code in filter(None, codes):  # each group says + or -
        assert all(code >> shift & 3 in (1, 2) for shift in range(0, 64, 2))
    assert len({code for code in codes if code}) == 8


def test_disagreeing_ngrams_cancel(isa: str) -> None:
    groups = [(A | B) >> shift & 3 for shift in range(0, 64, 2)]
    assert 3 in groups
    expected = [{1: 1, 2: -1, 3: 0}[group] for group in groups]
    features, _ = ngrams_alone(32, ngram_min=1, ngram_max=1).ragged("ab")
    assert features[0].tolist() == expected


def test_whole_tokens_keep_their_features(isa: str) -> None:
    text = f"The alarm\u2019s off, {THAI} \u4f60\u597d \U0001f600!"
    for whole, ngrams in ((64, 32), (96, 64), (512, 512), (32, 1024)):
        for dtype in (np.int8, np.uint8, np.float32):
            both = Projection(whole + ngrams, ngram_size=ngrams).ragged(text, dtype=dtype)[0]
            plain = Projection(whole).ragged(text, dtype=dtype)[0]
            np.testing.assert_array_equal(both[:, :whole], plain)
            alone = ngrams_alone(ngrams).ragged(text, dtype=dtype)[0]
            np.testing.assert_array_equal(both[:, whole:], alone)


def test_words_apart_do_not_see_each_other(isa: str) -> None:
    project = ngrams_alone()
    together = project.ragged("set the alarm")[0]
    alone = [project.ragged(word)[0][0] for word in ("set", "the", "alarm")]
    np.testing.assert_array_equal(together, np.stack(alone))
    for row, word in zip(together, ("set", "the", "alarm"), strict=True):
        groups = [code >> shift & 3 for code in project.codes(word) for shift in range(0, 64, 2)]
        np.testing.assert_array_equal(row, np.array([0, 1, -1, 0])[groups])


def test_tokens_of_a_run_see_each_other(isa: str) -> None:
    for text, apart in (("alarm!", "alarm !"), ("\u4f60\u597d", "\u4f60 \u597d")):
        project = ngrams_alone()
        assert project.tokens(text) == project.tokens(apart)
        assert (ngram_rows(project, text) != ngram_rows(project, apart)).any(axis=1).all()
        # Single characters overlap nothing but themselves.
        own = ngrams_alone(ngram_min=1, ngram_max=1)
        np.testing.assert_array_equal(ngram_rows(own, text), ngram_rows(own, apart))


def test_without_runs_tokens_are_alone(isa: str) -> None:
    project = ngrams_alone(ngram_runs=False)
    for text in ("alarm!", "\u4f60\u597d", "don\u2019t-go, \U0001f600!?", THAI):
        alone = [ngram_rows(project, token)[0] for token in project.tokens(text)]
        np.testing.assert_array_equal(ngram_rows(project, text), alone)
        apart = b" ".join(project.tokens(text))
        np.testing.assert_array_equal(ngram_rows(ngrams_alone(), apart), alone)
    filtered = ngrams_alone(ngram_runs=False, alphabetic_only=True)
    np.testing.assert_array_equal(
        ngram_rows(filtered, "alarm?off"), ngram_rows(filtered, "alarm ? off")
    )


def test_neighbourhood_of_a_token_is_max_minus_one() -> None:
    """Of a token of one character: what is within reach of an n-gram changes it, nothing else."""
    for longest in range(1, 9):
        project = ngrams_alone(4096, ngram_min=1, ngram_max=longest, split="codepoints")
        text = "abcdefghijklmnopqrstuvwxyz"
        row = ngram_rows(project, text)[13]
        for place in range(26):
            changed = text[:place] + "0" + text[place + 1 :]
            same = (ngram_rows(project, changed)[13] == row).all()
            assert same == (abs(place - 13) >= longest)


def test_boundaries_of_runs() -> None:
    project = ngrams_alone(bos=True, eos=True)
    unfolded = ngrams_alone(split="space", lower=False)
    rows = ngram_rows(project, "<BOS>\u4f60")
    np.testing.assert_array_equal(rows[0], ngram_rows(unfolded, "<BOS>")[0])
    np.testing.assert_array_equal(rows[1:-1], ngram_rows(ngrams_alone(), "<BOS>\u4f60"))
    # What is cut off by the limit is not there.
    limited = ngrams_alone(max_tokens=2)
    np.testing.assert_array_equal(
        ngram_rows(limited, "\u4f60\u597d\u4e16"), ngram_rows(ngrams_alone(), "\u4f60\u597d")
    )
    # Tokens that come split are apart.
    given, _ = project.presegmented([["\u4f60", "\u597d"], ["word", "."]])
    for found, text in zip(given, ("\u4f60 \u597d", "word ."), strict=True):
        np.testing.assert_array_equal(found, ngram_rows(project, text))


def test_words_are_folded_first() -> None:
    project = ngrams_alone()
    np.testing.assert_array_equal(
        ngram_rows(project, "ALARM \u00dcBER"), ngram_rows(project, "alarm \u00fcber")
    )
    letters = ngrams_alone(vocabulary="alrm", split="space")
    np.testing.assert_array_equal(ngram_rows(letters, "a1l2arm"), ngram_rows(letters, "alarm"))
    assert not ngram_rows(letters, "123").any()  # no character is left, so there is no n-gram
    assert project.codes("") == [0] * 16


def test_ill_formed_bytes_are_replacement_characters() -> None:
    project = ngrams_alone()
    np.testing.assert_array_equal(
        ngram_rows(project, b"a\xffb\xe2\x82"), ngram_rows(project, "a\ufffdb\ufffd")
    )
    assert project.codes(b"a\xff\xe2\x82b") == project.codes("a\ufffd\ufffdb")


def test_ngrams_are_of_distorted_words() -> None:
    project = Projection(544, ngram_size=512, split="space", distortion=1.0)
    text = "wake me up tomorrow at seven"
    words = project.words(text, seed=9)
    assert words != text.encode().split()
    groups = [
        [code >> shift & 3 for code in project.codes(word) for shift in range(0, 64, 2)]
        for word in words
    ]
    features, _ = project.ragged(text, seed=9)
    np.testing.assert_array_equal(features, np.array([0, 1, -1, 0])[groups])


def agreement(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Cosine of two rows of features."""
    left, right = a.astype(float), b.astype(float)
    return float(left @ right / np.sqrt((left @ left) * (right @ right)))


@pytest.mark.parametrize("size", [512, 1024, 2048])
def test_similar_spelling_gives_similar_features(size: int) -> None:
    project = ngrams_alone(size)
    similar = (
        "alarm alarms calendar calendars recu\u00e9rdame recuerdame reminder reminders".split()
    )
    rows = [project.ragged(word)[0][0] for word in similar]
    for i in range(0, len(rows), 2):
        pair = agreement(rows[i], rows[i + 1])
        others = [agreement(rows[i], rows[j]) for j in range(len(rows)) if j // 2 != i // 2]
        assert pair > 0.25 > max(others)


def test_signs_and_slots_are_even() -> None:
    letters = [chr(c) for c in range(0x61, 0x7B)]
    # Three letters between two markers are one n-gram of five characters.
    triples = ngrams_alone(512, ngram_min=5, ngram_max=5)
    words = [a + b + c for a in letters for b in letters for c in letters]
    codes = np.array([triples.codes(word) for word in words], np.uint64)
    assert ((codes != 0).sum(axis=1) == 1).all()
    count = len(codes)
    per_slot = (codes != 0).sum(axis=0)
    # Five standard deviations of a binomial distribution.
    assert np.abs(per_slot - count / 16).max() < 5 * np.sqrt(count * 15) / 16
    plus = codes.max(axis=1)[:, None] >> np.arange(0, 64, 2, dtype=np.uint64) & np.uint64(1)
    assert np.abs(plus.sum(axis=0) - count / 2).max() < 5 * np.sqrt(count) / 2


def test_distinct_rows(isa: str) -> None:
    project = Projection(576, ngram_size=512)
    # The same tokens among other neighbours are other rows.
    texts = ["\u4f60\u597d \u597d\u4f60 \u4f60\u597d", THAI * 3, "word word. word"]
    features, offsets = project.ragged(texts)
    rows, index, same_offsets = project.ragged_unique(texts)
    np.testing.assert_array_equal(offsets, same_offsets)
    np.testing.assert_array_equal(rows[index], features)
    assert len(np.unique(rows, axis=0)) == len(rows)
    # Two of four characters of Chinese begin a run, two end one; a word with a full stop, and that.
    assert len(set(index[: offsets[1]].tolist())) == 4
    assert len(set(index[offsets[2] :].tolist())) == 3


def test_padded(isa: str) -> None:
    project = Projection(128, ngram_size=64, bos=True)
    texts = ["one two", "", THAI, "three"]
    features, offsets = project.ragged(texts, dtype=np.float32)
    padded, lengths = project.padded(texts)
    for i, length in enumerate(lengths):
        np.testing.assert_array_equal(padded[i, :length], features[offsets[i] : offsets[i + 1]])
        assert not padded[i, length:].any()


def test_threads() -> None:
    project = Projection(640, ngram_size=512)
    texts = ["The quick brown fox", THAI] * 100
    expected = project.ragged(texts)[0]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(10):
            if not np.array_equal(project.ragged(texts)[0], expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("text", "split", "count"),
    [
        ("\u0e01" * 10**6, "words", 10**6),
        ("a" * 10**6, "words", 1),
        ("\u0101" * 10**6, "words", 1),
        ("ab" * (5 * 10**5), "codepoints", 10**6),
    ],
)
def test_long_runs(text: str, split: Any, count: int) -> None:
    project = Projection(32, ngram_size=32, ngram_min=1, ngram_max=8, split=split)
    assert project.ragged(text)[1].tolist() == [0, count]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ngram_size": 33}, ValueError, r"ngram_size must be a multiple of 32 in \[0, 128\]"),
        ({"ngram_size": 160}, ValueError, "ngram_size .* got 160"),
        ({"ngram_size": -32}, ValueError, "ngram_size .* got -32"),
        ({"ngram_size": 32.0}, TypeError, "ngram_size must be int, got 32.0"),
        ({"ngram_size": True}, TypeError, "ngram_size must be int, got True"),
        (
            {"feature_size": 100, "ngram_size": 32},
            ValueError,
            "feature_size must be a multiple of 32 with ngram_size=32, got 100",
        ),
        (
            {"ngram_size": 32, "hash": "xfixhash8"},
            ValueError,
            "hash must be 'murmur' with ngram_size=32, got 'xfixhash8'",
        ),
        ({"ngram_min": 0}, ValueError, r"ngram_min must be in \[1, 8\], got 0"),
        ({"ngram_min": 9}, ValueError, "ngram_min .* got 9"),
        ({"ngram_max": 1}, ValueError, r"ngram_max must be in \[2, 8\], got 1"),
        ({"ngram_max": 9}, ValueError, "ngram_max .* got 9"),
        ({"ngram_max": "4"}, TypeError, "ngram_max must be int, got '4'"),
    ],
)
def test_bad_settings(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Projection(**{"feature_size": 128, **options})
