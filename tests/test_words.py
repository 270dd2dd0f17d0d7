"""split="words": hand-written segmentations, the slow twin, other implementations, random texts."""

from __future__ import annotations

import json
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pqrnn_native import _core
from pqrnn_native.reference import words as twin


def split(text: str) -> list[str]:
    data = text.encode()
    return [data[begin:end].decode() for begin, end in _core.split_words(data)]


# Segmentations worked out by hand from the rules of UAX #29, one a line.
SEGMENTED = [
    json.loads(line)
    for line in Path(__file__).with_name("segmented.jsonl").read_text("utf-8").splitlines()
]


@pytest.mark.parametrize("case", SEGMENTED, ids=[case["name"] for case in SEGMENTED])
def test_tokens_of(case: dict[str, Any]) -> None:
    assert split(case["text"]) == case["tokens"]


@pytest.mark.parametrize(
    ("data", "spans"),
    [
        (b"", []),
        (b"a\xffb", [(0, 1), (1, 2), (2, 3)]),
        (b"\xff\xfe", [(0, 1), (1, 2)]),
        (b"\xe2\x82", [(0, 2)]),  # cut short: one U+FFFD
        (b"\xe2\x82\xe2\x82\xac", [(0, 2), (2, 5)]),
        (b"\xed\xa0\x80", [(0, 1), (1, 2), (2, 3)]),  # a surrogate is three
        (b"a\xcc", [(0, 1), (1, 2)]),  # half of a combining mark joins nothing
        (b" \xe2\x80", [(1, 3)]),
    ],
)
def test_ill_formed_bytes(data: bytes, spans: list[tuple[int, int]]) -> None:
    assert _core.split_words(data) == spans


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("today's", "today|'|s"),
        ("l\u2019album", "l|\u2019|album"),
        ("I can't, they\u2019re", "I|can|'|t|,|they|\u2019|re"),
        ("''a''", "'|'|a|'|'"),
        ("rock 'n' roll", "rock|'|n|'|roll"),
        ("5'6 a.b 1,000", "5|'|6|a.b|1,000"),
        ("d\u02bcune", "d\u02bcune"),  # a letter
        ("\u05d0'\u05d1", "\u05d0|'|\u05d1"),
        ("\u00e9't\u00e9 x'\u00e9", "\u00e9|'|t\u00e9|x|'|\u00e9"),
        ("a'\u0308b", "a|'\u0308|b"),  # characters stay whole
        ("no such thing", "no|such|thing"),
    ],
)
def test_apostrophes_apart(text: str, tokens: str) -> None:
    data = text.encode()
    spans = _core.split_words(data, split_apostrophes=True)
    assert [data[begin:end].decode() for begin, end in spans] == tokens.split("|")


def test_only_bytes_are_taken() -> None:
    for wrong in ("text", None, 3, bytearray(b"x")):
        with pytest.raises(TypeError):
            _core.split_words(wrong)  # type: ignore[arg-type]


# At least one character for every pair of classes that a rule mentions.
CHARACTERS = [
    *"abz19_'\".:,; \t\r\n!-",
    *"\u00e9\u05d0\u0661\u2019\u00b7\u066c\u202f\u30a2\u30fc\u3042\u4e2d\u3000\u00a0\u0085\u2028",
    *"\u0308\u00ad\u200b\u200c\u200d\ufe0f\u20e3\u0345\ufeff\U000e0067",
    *"\u0e01\u0e31\u0e33\u0e40\u0eb3\u1000\u1039\u103c\u1780\u17d2",
    *"\u0e30\u0e32\u0e34\u0e37\u0e46\u0e48\u0e4c\u0e51\u0e81\u0eb1\u0eb2\u0ec0\u0ecc",
    *"\u0915\u094d\u093f\u0903\u0d4e\u0600\u1cf5",
    *"\u1100\u1161\u11a8\uac00\uac01",
    *"\U0001f1e9\U0001f1ea\U0001f469\U0001f3fd\u2764\u24c2",
    *"\ufffd\U0010ffff\ue000",
]
rule_text = st.lists(st.sampled_from(CHARACTERS), max_size=24).map("".join)
scalar_text = st.text(st.characters(codec="utf-8"), max_size=24)


@settings(max_examples=1500)
@given(st.one_of(rule_text, scalar_text), st.booleans())
def test_fast_is_the_twin(text: str, split_apostrophes: bool) -> None:
    data = text.encode()
    spans = _core.split_words(data, split_apostrophes)
    assert _core.to_char_spans(data, spans) == twin.split_words(text, split_apostrophes)


def test_every_pair_and_triple_is_the_twins() -> None:
    """All texts of two of the characters above, and three of one for each kind of class."""
    kinds = {_core.segmentation_classes(ord(c)): c for c in CHARACTERS}
    texts = [a + b for a in CHARACTERS for b in CHARACTERS]
    texts += [a + b + c for a in kinds.values() for b in kinds.values() for c in kinds.values()]
    for text in texts:
        data = text.encode()
        for apart in (False, True):
            fast = _core.to_char_spans(data, _core.split_words(data, apart))
            assert fast == twin.split_words(text, apart), ascii(text)


@settings(max_examples=500)
@given(st.lists(st.one_of(st.binary(max_size=4), rule_text.map(str.encode)), max_size=8))
def test_ill_formed_bytes_count_as_the_replacement_character(parts: list[bytes]) -> None:
    data = b"".join(parts)
    text = data.decode("utf-8", "replace")
    spans = _core.split_words(data)
    assert _core.to_char_spans(data, spans) == twin.split_words(text)


@settings(max_examples=500)
@given(st.one_of(rule_text, scalar_text))
def test_tokens_ascend_and_leave_out_only_what_is_invisible(text: str) -> None:
    data = text.encode()
    spans = _core.split_words(data)
    ends = [0, *(end for _, end in spans)]
    left_out = b""
    for (begin, end), before in zip(spans, ends, strict=False):
        assert before <= begin < end <= len(data)
        left_out += data[before:begin]
    left_out += data[ends[-1] :]
    for c in left_out.decode():  # decodes: spans cut no character
        assert c.isspace() or _core.segmentation_classes(ord(c))[2], ascii(c)


# What differs between Unicode 16 or 17, which these carry, and 18: rule GB9c (conjuncts). The Rust
# crate also forgets that a circled letter is a letter when a joiner precedes it, and breaks no
# "a'" before a joiner and a pictograph, where WB6 would need a letter.
LINKED = {"\u1039", "\u17d2", "\u094d", "\u1cf5"}
# What makes syllables of Thai and Lao, of which the standard knows nothing.
SYLLABIC = set("\u0e30\u0e31\u0e32\u0e37\u0e40\u0e4c\u0eb1\u0eb2\u0ec0\u0ecc")


@pytest.mark.parametrize(
    ("package", "excluded"),
    [
        ("uniseg", LINKED | SYLLABIC),
        ("unicode_segmentation_rs", LINKED | SYLLABIC | {"\u24c2", "\u200d"}),
    ],
)
def test_second_opinion(package: str, excluded: set[str]) -> None:
    pytest.importorskip(package, reason="an independent implementation of UAX #29")
    if package == "uniseg":
        from uniseg.graphemecluster import grapheme_clusters
        from uniseg.wordbreak import words
    else:
        import unicode_segmentation_rs

        words = unicode_segmentation_rs.split_word_bounds

        def grapheme_clusters(text: str) -> list[str]:
            return unicode_segmentation_rs.graphemes(text, is_extended=True)

    def offsets(parts: list[str]) -> set[int]:
        ends = {0}
        for part in parts:
            ends.add(max(ends) + len(part))
        return ends

    allowed = [c for c in CHARACTERS if c not in excluded]

    @settings(max_examples=1500)
    @given(st.lists(st.sampled_from(allowed), max_size=24).map("".join))
    def compare(text: str) -> None:
        both = sorted(offsets(list(words(text))) & offsets(list(grapheme_clusters(text))))
        expected = [
            (begin, end)
            for begin, end in pairwise(both)
            if not all(is_invisible(c) for c in text[begin:end])
        ]
        data = text.encode()
        assert _core.to_char_spans(data, _core.split_words(data)) == expected

    compare()


def is_invisible(c: str) -> bool:
    """White space, control or format character, in the interpreter's Unicode version."""
    return c.isspace() or (unicodedata.category(c) in ("Cc", "Cf") and c != "\u0600")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a" * 10**6, 1),
        ("a." * 10**6, 2),
        ("\U0001f1e9" * 10**6, 5 * 10**5),
        ("\U0001f469\u200d" * 10**5, 1),
        ("\u6f22" * 10**5, 10**5),
        ("a:" + "\u0308" * 10**6, 2),
        ("\u1000\u1039" * 10**5, 1),
        (" " * 10**6, 0),
    ],
    ids=["letters", "full stops", "flags", "joiners", "han", "marks", "conjuncts", "spaces"],
)
def test_long_runs(text: str, count: int) -> None:
    assert len(_core.split_words(text.encode())) == count
