"""pq.Projection: known values, every kind of input, every refusal.

The literals are recorded outputs of the published operator, or were computed from the
specification by the twin in ``pqrnn_native.reference.projection``.
"""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest

import pqrnn_native as pq
from pqrnn_native.projection import Projection, english_tokens


def rows(features: np.ndarray) -> list[str]:
    """-1, 0, +1 as "-", "0", "+"."""
    return ["".join("-0+"[int(v) + 1] for v in row) for row in features]


def encoded(*words: str) -> list[bytes]:
    return [word.encode() for word in words]


HASHES = [
    ("hello", "murmur", "signed", 64, ["1e68d17c457bf117", "1aec33d7dd3e8013"]),
    ("Gr\u00fc\u00dfe", "murmur", "signed", 64, ["5aea2548d7f2dc0a", "12b8f28537484f6c"]),
    ("Gr\u00fc\u00dfe", "murmur", "unsigned", 64, ["064a007886bd074e", "b8a0593be0013415"]),
    (
        "",
        "murmur",
        "signed",
        128,
        ["4ceb8215f2f24d4f", "9aa1cdf144676538", "a914ce7e9e03bcf9", "cb3f95ff02ed8207"],
    ),
    ("<BOS>", "murmur", "signed", 64, ["0117e4d32992670b", "142af9c29fd301c3"]),
    ("[SEP]", "xfixhash8", "signed", 64, ["e9f74f299021f74f", "094190492fd74190"]),
    ("abcdefghijklmnop", "xfixhash16", "signed", 64, ["99503a75840a269f", "835090300efb9dc6"]),
    ("<EOS>", "xfixhash32", "signed", 33, ["cb198fe9efc377ec", "7c745909e9c415d6"]),
    ("na\u00efve", "unicodehash8", "signed", 32, ["0000005e8f73445a"]),
    ("abcdefghi", "unicodehash16", "signed", 64, ["9851d1ac0b084463", "b2e4ec3f259a5ef6"]),
]


@pytest.mark.parametrize(("word", "hash_name", "char", "size", "expected"), HASHES)
def test_codes(word: str, hash_name: Any, char: Any, size: int, expected: list[str]) -> None:
    codes = Projection(size, hash=hash_name, char=char).codes(word)
    assert [f"{code:016x}" for code in codes] == expected


def test_published_operator(isa: str) -> None:
    project = Projection.from_attributes(16)
    features, offsets = project.ragged(["play Some jazz", ""])
    assert rows(features) == [
        "0+--00-0000-00+-",
        "--++-+0--00-0-0+",
        "0-0++-0-00+0-000",
        "0+000000+-+-0-0-",
        "0+000000+-+-0-0-",
    ]
    assert offsets.tolist() == [0, 4, 5]
    assert (features.dtype, offsets.dtype) == (np.int8, np.int64)


def test_cap_features(isa: str) -> None:
    project = Projection(16, split="space", char="signed", first_cap=1.0, all_caps=1.0)
    features, _ = project.ragged("Caf\u00e9 NATO a A")
    assert rows(features) == [
        "-0+--0-00--0-+00",
        "0-0--000--00+--0",
        "+0+00--+0--+--+0",
        "+0+00--+0--++++0",
    ]


def test_words_of_many_scripts(isa: str) -> None:
    project = Projection(16)
    text = "\u4f60\u597d, \u00dcn\u00efcode"
    assert project.words(text) == encoded("\u4f60", "\u597d", ",", "\u00fcn\u00efcode")
    assert project.tokens(text) == encoded("\u4f60", "\u597d", ",", "\u00dcn\u00efcode")
    assert project.spans(text) == [(0, 1), (1, 2), (2, 3), (4, 11)]
    features, _ = project.ragged("\u4f60\u597d, \u4e16\u754c")
    assert rows(features) == [
        "0++0--++0+00-0+-",
        "0000--00000-0-+-",
        "++0-+00---+-+++-",
        "+0-0-0++000+-000",
        "-0+0000-+000000-",
    ]


def test_signed_char_confuses_what_unsigned_tells_apart() -> None:
    for char, same in (("signed", True), ("unsigned", False)):
        project = Projection(64, char=char)
        assert (project.codes("caf\u00e9") == project.codes("caf\u00e8")) is same
        assert (project.codes("\u4f60") == project.codes("\u4ed6")) is same


def test_novelty_and_document_size(isa: str) -> None:
    project = Projection(32, split="space", novelty_bits=1, doc_size_levels=4)
    features, _ = project.ragged("a b a a", dtype=np.float32)
    assert features[:, -1].tolist() == [-1.0, -1.0, 0.0, 1.0]
    assert features[:, -2].tolist() == [0.0] * 4  # log2(4) / 4 * 2 - 1
    coded, _ = project.ragged("a b a a", dtype=np.uint8)
    assert coded[:, -1].tolist() == [0, 0, 127, 254]
    with pytest.raises(ValueError, match="dtype must be float32 or uint8 with novelty_bits=1"):
        project.ragged("a")
    with pytest.raises(ValueError, match="doc_size_levels=3"):
        Projection(32, doc_size_levels=3).ragged("a")
    no_tokens = Projection(8, doc_size_levels=1, eos=True).ragged("", dtype=np.float32)[0]
    assert no_tokens[0, -2] == -np.inf
    assert Projection(8, doc_size_levels=1, eos=True).ragged("", dtype=np.uint8)[0][0, -2] == 0


def test_on_device_coding(isa: str) -> None:
    project = Projection(40, first_cap=1.0)
    ternary, _ = project.ragged("Ab cd")
    coded, _ = project.ragged("Ab cd", dtype=np.uint8)
    expected = np.select([ternary > 0, ternary < 0], [255, 0], 127)
    np.testing.assert_array_equal(coded, expected)


def test_normalizers() -> None:
    options: dict[str, Any] = {"split": "space", "lower": False}
    assert Projection(8, normalize_repetition=True, **options).words("sooo hahaha 1111") == encoded(
        "soo", "haha", "1111"
    )
    assert Projection(8, separators="!'", **options).words("it's great!!") == encoded(
        "it", "'s", "great", "!", "!"
    )
    assert Projection(8, normalize_spaces=True, split="codepoints").words("  a  b ") == encoded(
        "a", " ", "b"
    )


def test_spans_of_normalized_texts_point_into_the_original() -> None:
    text = "  N\u00f6\u00f6\u00f6!  hahahaha x "
    project = Projection(
        8, split="space", normalize_repetition=True, normalize_spaces=True, separators="!"
    )
    assert project.tokens(text) == encoded("N\u00f6\u00f6", "!", "haha", "x")
    assert [text[a:b] for a, b in project.spans(text)] == [
        "N\u00f6\u00f6\u00f6",
        "!",
        "hahahaha",
        "x",
    ]
    ill_formed = b"\xff\xffab aaaa"
    project = Projection(8, normalize_repetition=True)
    assert [ill_formed[a:b] for a, b in project.spans(ill_formed)] == [
        b"\xff",
        b"\xff",
        b"ab",
        b"aaaa",
    ]


def test_apostrophes_apart() -> None:
    project = Projection(8, split_apostrophes=True)
    text = "L\u2019album d'hier isn\u02bct today's"
    assert project.words(text) == encoded(
        "l", "\u2019", "album", "d", "'", "hier", "isn\u02bct", "today", "'", "s"
    )
    assert [text[a:b] for a, b in project.spans(text)][:3] == ["L", "\u2019", "album"]
    plain = Projection(8)
    assert project.ragged("no such thing")[0].tolist() == plain.ragged("no such thing")[0].tolist()


def test_filters() -> None:
    # Capitals in a vocabulary count for nothing, because words are lower-cased.
    assert Projection(8, vocabulary="abc\u00c4").words("Abc xa? \u00c4") == encoded(
        "abc", "a", "", ""
    )
    assert Projection(8, alphabetic_only=True, split="space").words("a1b 22 \u00e7a-va") == encoded(
        "ab", "", "\u00e7ava"
    )
    assert Projection(8).codes("") == Projection(8).codes("<null>")


def test_limits() -> None:
    assert Projection(8, max_tokens=2).words("a b c") == [b"a", b"b"]
    assert Projection(8, max_tokens=0).words("a b c") == [b"a", b"b", b"c"]
    space = Projection(8, split="space", max_tokens=2)
    assert space.words("a b  c") == [b"a", b"b"]
    assert space.words("a  b c") == [b"a"]  # the published operator loses one here
    assert Projection(8, split="codepoints", max_tokens=3).words("a bc") == [b"a", b" ", b"b"]


def test_ill_formed_utf8() -> None:
    text = b"ab\xffcd ef"
    assert Projection(8).words(text) == [b"ab", b"\xef\xbf\xbd", b"cd", b"ef"]
    assert Projection(8, split="space").words(text) == [b"ab", b"ef"]
    assert Projection(8, split="codepoints").words(text) == [b"a", b"b"]


def test_str_bytes_and_surrogates_agree(isa: str) -> None:
    project = Projection(64)
    texts = ["na\u00efve \ud800x", "", "a\0b"]
    repaired = ["na\u00efve \ufffdx", "", "a\0b"]
    expected = project.ragged([t.encode() for t in repaired])
    for same in (texts, repaired, tuple(texts), iter(texts), np.array(texts, object)):
        found = project.ragged(same)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
    assert project.spans("\udfff\ud800a") == [(0, 1), (1, 2), (2, 3)]


def test_one_text_is_a_batch_of_one() -> None:
    project = Projection(16)
    for text in ("a b", b"a b"):
        features, offsets = project.ragged(text)
        assert offsets.tolist() == [0, 2]
        padded, lengths = project.padded(text)
        assert padded.shape == (1, 2, 16)
        assert lengths.tolist() == [2]
        np.testing.assert_array_equal(padded[0], features)


def test_empty_batches_and_texts() -> None:
    project = Projection(16)
    features, offsets = project.ragged([])
    assert features.shape == (0, 16)
    assert offsets.tolist() == [0]
    assert project.padded([])[0].shape == (0, 0, 16)
    assert project.padded(["", " "])[0].shape == (2, 0, 16)
    assert project.presegmented([])[0].shape == (0, 0, 16)
    assert project.presegmented([[], ["a"]])[1].tolist() == [0, 1]
    assert project.words("") == project.tokens("") == project.spans("") == []
    with pytest.raises(ValueError, match=r"texts\[1\] must have a token"):
        Projection.from_attributes(16, add_eos_tag=False).ragged(["a", " "])


def test_padded_and_presegmented(isa: str) -> None:
    project = Projection(48, split="space", bos=True, eos=True, normalize_repetition=True)
    texts = ["One twooo", "three", ""]
    features, offsets = project.ragged(texts, dtype=np.float32)
    padded, lengths = project.padded(texts)
    assert padded.shape == (3, 4, 48)
    assert padded.dtype == np.float32
    assert lengths.dtype == np.int32
    assert lengths.tolist() == np.diff(offsets).tolist() == [4, 3, 2]
    for i in range(3):
        expected = np.zeros((4, 48), np.float32)
        expected[: lengths[i]] = features[offsets[i] : offsets[i + 1]]
        np.testing.assert_array_equal(padded[i], expected)
    again, same_lengths = project.presegmented([["One", "twooo"], [b"three"], []])
    np.testing.assert_array_equal(again, padded)
    np.testing.assert_array_equal(same_lengths, lengths)


@pytest.mark.parametrize(
    "size", [1, 2, 31, 32, 33, 63, 64, 65, 96, 127, 129, 4095, 4096, 16384, 36896, 65536]
)
def test_feature_sizes_are_prefixes_of_each_other(size: int, isa: str) -> None:
    texts = ["the quick brown fox jumps over the lazy dog " * 5]
    wide = Projection(65536).ragged(texts)[0]
    for dtype in (np.int8, np.float32):
        found = Projection(size).ragged(texts, dtype=dtype)[0]
        np.testing.assert_array_equal(found, wide[:, :size])


def test_distortion_sequence() -> None:
    project = Projection(16, split="space", distortion=0.5, eos=True)
    first = project.words("the quick brown fox jumps")
    assert first == encoded("hte", "quik", "brown", "fox", "jumps", "<EOS>")
    assert project.words("over the lazy dog") == encoded("over", "the", "lcazy", "dog", "<EOS>")
    for fresh in (copy.copy(project), pickle.loads(pickle.dumps(project))):
        assert fresh.words("the quick brown fox jumps") == first
    np.testing.assert_array_equal(
        copy.copy(project).ragged("the quick brown fox jumps")[0],
        Projection(16).ragged("hte quik brown fox jumps")[0].tolist()
        + Projection.from_attributes(16).ragged("")[0].tolist(),
    )


def test_seeded_distortion_depends_on_seed_and_text_alone() -> None:
    project = Projection(64, distortion=0.7, first_cap=0.5)
    texts = [f"sentence number {i} of many words" for i in range(50)]
    features, offsets = project.ragged(texts, seed=3)
    for i in (0, 17, 49):
        alone, _ = project.ragged(texts[i], seed=3)
        np.testing.assert_array_equal(alone, features[offsets[i] : offsets[i + 1]])
    backwards, _ = project.ragged(texts[::-1], seed=3)
    np.testing.assert_array_equal(backwards[: offsets[1]], features[offsets[49] :])
    assert (project.ragged(texts, seed=4)[0] != features).any()
    # The published sequence is not disturbed.
    plain = Projection(64, distortion=0.7, first_cap=0.5)
    np.testing.assert_array_equal(project.ragged(texts)[0], plain.ragged(texts)[0])
    # Every kind of edit happens: words get shorter, longer, and reordered.
    pairs = [
        (word, distorted)
        for text in texts
        for word, distorted in zip(text.encode().split(), project.words(text, seed=5), strict=True)
    ]
    changes = {len(after) - len(before) for before, after in pairs if before != after}
    assert changes == {-1, 0, 1}
    assert 0.2 < np.mean([before != after for before, after in pairs]) < 0.7


def test_threads_share_a_projection() -> None:
    project = Projection(128)
    texts = ["The quick brown fox", "j\u00fcmps over \u4f60\u597d"] * 200
    expected = project.ragged(texts)[0]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(20):
            if not np.array_equal(project.ragged(texts)[0], expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_large_inputs(isa: str) -> None:
    project = Projection(4)
    assert project.ragged("a " * 100_000)[1].tolist() == [0, 100_000]
    assert project.ragged("a" * 1_000_000)[1].tolist() == [0, 1]
    assert project.ragged("\0" * 1_000_000)[1][-1] == len(project.tokens("\0" * 1_000_000))
    assert Projection(4, split="codepoints").ragged("\u00e9" * 100_000)[1][-1] == 100_000
    everything = Projection(
        8, normalize_repetition=True, normalize_spaces=True, separators=".", novelty_bits=7
    )
    features, _ = everything.ragged("ab. " * 100_000, dtype=np.float32)
    assert features.shape == (200_000, 8)
    assert features[-1, -1] == 1.0


def test_is_a_frozen_value() -> None:
    project = Projection(64, split="space", vocabulary="ab")
    assert repr(project) == "Projection(feature_size=64, split='space', vocabulary='ab')"
    assert eval(repr(project), {"Projection": Projection}) == project
    assert project == Projection(64, split="space", vocabulary="ab")
    assert hash(project) == hash(Projection(64, split="space", vocabulary="ab"))
    assert project != Projection(64, split="space")
    assert project != "Projection"
    assert pickle.loads(pickle.dumps(project)) == project
    assert project.config.vocabulary == "ab"
    with pytest.raises(AttributeError, match="immutable"):
        project.feature_size = 3  # type: ignore[misc]
    with pytest.raises(AttributeError, match="immutable"):
        del project._core
    assert pq.Projection is Projection


def test_published_defaults() -> None:
    assert Projection.from_attributes() == Projection(
        512, split="space", char="signed", eos=True, allow_empty=False
    )
    assert not Projection.from_attributes(version=2).config.eos
    assert Projection.from_attributes(version=2, add_eos_tag=True).config.eos


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"feature_size": 0}, ValueError, r"feature_size must be in \[1, 65536\], got 0"),
        ({"feature_size": 65537}, ValueError, "feature_size .* got 65537"),
        ({"feature_size": -1}, ValueError, "feature_size .* got -1"),
        ({"feature_size": 2**80}, ValueError, "feature_size"),
        ({"feature_size": True}, TypeError, "feature_size must be int, got True"),
        ({"feature_size": "x"}, TypeError, "feature_size must be int, got 'x'"),
        ({"feature_size": 1.5}, TypeError, "feature_size"),
        ({"feature_size": None}, TypeError, "feature_size"),
        ({"split": "lines"}, ValueError, "split must be one of .* got 'lines'"),
        ({"hash": "md5"}, ValueError, "hash must be one of .* got 'md5'"),
        ({"hash": 5}, TypeError, "hash"),
        ({"char": "plain"}, ValueError, "char must be one of .* got 'plain'"),
        ({"lower": 1}, TypeError, "lower must be bool, got 1"),
        ({"max_tokens": 2**70}, ValueError, "max_tokens"),
        ({"vocabulary": b"ab"}, TypeError, "vocabulary must be str"),
        ({"vocabulary": "a", "alphabetic_only": True}, ValueError, "alphabetic_only"),
        ({"distortion": float("nan")}, ValueError, "distortion must be in .* got nan"),
        ({"distortion": 1.5}, ValueError, "distortion"),
        ({"first_cap": -0.1}, ValueError, "first_cap"),
        ({"all_caps": float("nan")}, ValueError, "all_caps"),
        ({"novelty_bits": 8}, ValueError, "novelty_bits"),
        ({"doc_size_levels": 17}, ValueError, "doc_size_levels"),
        ({"feature_size": 3, "all_caps": 1.0}, ValueError, "feature_size must be at least 4"),
        ({"feature_size": 1, "doc_size_levels": 1}, ValueError, "feature_size must be at least 2"),
        ({"allow_empty": 0}, TypeError, "allow_empty"),
        ({"split_apostrophes": 1}, TypeError, "split_apostrophes must be bool, got 1"),
        (
            {"split_apostrophes": True, "split": "space"},
            ValueError,
            "split_apostrophes=True needs split='words', got split='space'",
        ),
    ],
)
def test_bad_settings(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Projection(**{"feature_size": 64, **options})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"hashtype": "md5"}, ValueError, "^hashtype must be"),
        ({"feature_size": 0}, ValueError, "^feature_size"),
        ({"distortion_probability": 2.0}, ValueError, "^distortion_probability"),
        ({"word_novelty_bits": -1}, ValueError, "^word_novelty_bits"),
        ({"add_first_cap_feature": float("nan")}, ValueError, "^add_first_cap_feature"),
        ({"add_bos_tag": "yes"}, TypeError, "^add_bos_tag"),
        ({"add_eos_tag": 1}, TypeError, "^add_eos_tag"),
        ({"split_on_space": "yes"}, TypeError, "^split_on_space"),
        ({"version": 3}, ValueError, "^version must be 1 or 2, got 3"),
    ],
)
def test_bad_attributes(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Projection.from_attributes(**options)


@pytest.mark.parametrize("method", ["ragged", "padded"])
@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (None, "texts must be str, bytes or a list of them, got NoneType"),
        (3, "texts must be .* got int"),
        ([None], r"texts\[0\] must be str or bytes, got NoneType"),
        (["a", 3], r"texts\[1\] must be str or bytes, got int"),
        ([["a"]], r"texts\[0\] must be str or bytes, got list"),
        (["a", float("nan")], r"texts\[1\] must be str or bytes, got float"),
        (bytearray(b"a"), r"texts\[0\] must be str or bytes, got int"),
        (np.zeros(2), r"texts\[0\] must be str or bytes, got numpy.float64"),
    ],
)
def test_bad_texts(method: str, texts: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        getattr(Projection(16), method)(texts)


def test_bad_arguments() -> None:
    project = Projection(16)
    for method in ("tokens", "words", "spans", "codes"):
        for value in (None, 3, ["a"]):
            with pytest.raises(TypeError, match="must be str or bytes, got"):
                getattr(project, method)(value)
    for lists, message in (
        ("ab", "token_lists must be a list of lists"),
        (3, "token_lists must be a list of lists"),
        (["ab"], r"token_lists\[0\] must be a list of str or bytes, got str"),
        ([["a"], None], r"token_lists\[1\]"),
        ([["a", 3]], r"token_lists\[0\]\[1\] must be str or bytes, got int"),
    ):
        with pytest.raises(TypeError, match=message):
            project.presegmented(lists)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dtype must be int8, uint8 or float32, got float64"):
        project.ragged("a", dtype=np.float64)
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match="seed must be in"):
            project.ragged("a", seed=seed)
    for seed in ("1", 1.0, True):
        with pytest.raises(TypeError, match="seed must be int or None"):
            project.ragged("a", seed=seed)  # type: ignore[arg-type]

    def broken() -> Any:
        yield "a"
        raise RuntimeError("from the caller's generator")

    with pytest.raises(RuntimeError, match="from the caller's generator"):
        project.ragged(broken())


def test_english_tokens() -> None:
    assert english_tokens("I'm 1,000.5 m, ok.", " ',.") == encoded(
        "I", "'m", "1,000.5", "m", ",", "ok", "."
    )
    assert english_tokens("a  b", max_tokens=1) == [b"a"]
    assert english_tokens("abc def", max_input=5) == [b"abc", b"d"]
    with pytest.raises(TypeError, match="text must be str or bytes, got int"):
        english_tokens(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [{}, {"hash": "xfixhash8"}, {"hash": "unicodehash16"}, {"novelty_bits": 2, "eos": True}],
)
def test_distinct_rows_stand_for_all(options: dict[str, Any], isa: str) -> None:
    project = Projection(33, **options)
    texts = ["the cat and the dog", "", "the dog and THE cat", "b" * 50]
    features, offsets = project.ragged(texts, dtype=np.float32)
    rows, index, same_offsets = project.ragged_unique(texts, dtype=np.float32)
    np.testing.assert_array_equal(same_offsets, offsets)
    np.testing.assert_array_equal(rows[index], features)
    assert len(np.unique(rows, axis=0)) == len(rows) < len(features)
    assert list(dict.fromkeys(index.tolist())) == list(range(len(rows)))
