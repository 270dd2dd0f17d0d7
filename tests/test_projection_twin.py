"""The compiled projection against the one written out in Python, on random input and settings."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pqrnn_native.config import ProjectionConfig
from pqrnn_native.projection import Projection
from pqrnn_native.reference.projection import Philox, ReferenceProjection, hash_word

# Pieces that meet the rules of the specification, so that random texts hit them often.
PIECES = [
    *(
        " ",
        "  ",
        "a",
        "A",
        "aaa",
        "haha",
        "x1",
        "111",
        ".",
        "!!",
        "'",
        "\u2019",
        ",",
        "<BOS>",
        "\0",
        "\t",
    ),
    *(
        "\u00e9",
        "\u00c9",
        "\u0130",
        "\u00df",
        "\u1e9e",
        "\u4f60\u597d",
        "\u0e44\u0e17\u0e22",
        "\u306e\u306e",
        "\U0001f600",
        "\U0001f469\u200d\U0001f469\u200d\U0001f467",
        "e\u0301",
        "\ufffd",
        "\u0915\u094d\u0937\u093f",
        "\u03a3",
    ),
]
ILL_FORMED = [b"\xff", b"\xc3", b"\xe4\xbd", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xc0\xaf", b"\x80"]

texts = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=25).map(lambda p: "".join(p).encode()),
    st.lists(st.sampled_from([p.encode() for p in PIECES] + ILL_FORMED), max_size=25).map(b"".join),
    st.text(max_size=40).map(lambda t: t.encode("utf-8", "replace")),
    st.binary(max_size=60),
)


@st.composite
def configs(draw: st.DrawFn) -> ProjectionConfig:
    probability = st.sampled_from([0.0, 0.0, 0.3, 1.0])
    options: dict[str, Any] = {
        "split": draw(st.sampled_from(["words", "space", "codepoints"])),
        "hash": draw(
            st.sampled_from(
                ["murmur"] * 5
                + ["xfixhash8", "xfixhash16", "xfixhash32", "unicodehash8", "unicodehash16"]
            )
        ),
        "char": draw(st.sampled_from(["unsigned", "signed"])),
        "max_tokens": draw(st.sampled_from([-1, -1, 0, 1, 2, 5])),
        "separators": draw(st.sampled_from(["", "", ".,!'", "\u3002", " "])),
        "first_cap": draw(probability),
        "all_caps": draw(probability),
        "novelty_bits": draw(st.sampled_from([0, 0, 1, 7])),
        "doc_size_levels": draw(st.sampled_from([0, 0, 1, 16])),
        "distortion": draw(probability),
    }
    for name in ("lower", "bos", "eos", "normalize_repetition", "normalize_spaces"):
        options[name] = draw(st.booleans())
    filtered = draw(st.sampled_from(["", "", "vocabulary", "alphabetic"]))
    if filtered == "vocabulary":
        options["vocabulary"] = draw(
            st.sampled_from(["ae1 \u00c9\ufffd", "\u00c9", "a\u4f60\u597d"])
        )
    options["alphabetic_only"] = filtered == "alphabetic"
    if options["split"] == "words":
        options["split_apostrophes"] = draw(st.booleans())
    if options["hash"] == "murmur" and draw(st.booleans()):
        # Above 1024, an n-gram sets several words; 1056 does not divide into equal parts.
        options["ngram_size"] = draw(st.sampled_from([32, 64, 96, 256, 512, 1056]))
        options["ngram_min"] = draw(st.integers(1, 8))
        options["ngram_max"] = draw(st.integers(options["ngram_min"], 8))
        options["ngram_runs"] = draw(st.booleans())
        options["ngram_hashes"] = draw(st.integers(0, 5))
        size = options["ngram_size"] + 32 * draw(st.integers(0, 4))
        options["token_hashes"] = draw(st.integers(0, min(9, size - options["ngram_size"])))
        return ProjectionConfig(feature_size=size, **options)
    if options["hash"] == "murmur" and draw(st.booleans()):
        hashes = draw(st.integers(1, 40))
        return ProjectionConfig(
            feature_size=32 * draw(st.integers(2, 6)), token_hashes=hashes, **options
        )
    return ProjectionConfig(feature_size=draw(st.integers(4, 200)), **options)


def projection(config: ProjectionConfig) -> Projection:
    return Projection(**{name: getattr(config, name) for name in config.__dataclass_fields__})


@settings(max_examples=300)
@given(config=configs(), batch=st.lists(texts, min_size=1, max_size=3))
def test_texts(config: ProjectionConfig, batch: list[bytes], isa: str) -> None:
    twin = ReferenceProjection(config)
    features, offsets = projection(config).ragged(batch, dtype=np.float32)
    words = projection(config)
    for i, text in enumerate(batch):
        positions = twin.words(text)
        assert words.words(text) == [position.word for position in positions]
        found = features[offsets[i] : offsets[i + 1]]
        np.testing.assert_allclose(found, twin.features(positions), rtol=0, atol=1e-6)


@settings(max_examples=150)
@given(config=configs(), batch=st.lists(st.lists(texts, max_size=5), min_size=1, max_size=3))
def test_presegmented(config: ProjectionConfig, batch: list[list[bytes]], isa: str) -> None:
    twin = ReferenceProjection(config)
    features, lengths = projection(config).presegmented(batch)
    for i, tokens in enumerate(batch):
        expected = twin.features(twin.presegmented_words(tokens))
        assert lengths[i] == len(expected)
        np.testing.assert_allclose(features[i, : lengths[i]], expected, rtol=0, atol=1e-6)
        assert not features[i, lengths[i] :].any()


@settings(max_examples=300)
@given(config=configs(), word=st.one_of(texts, st.binary(max_size=40)))
def test_codes(config: ProjectionConfig, word: bytes) -> None:
    assert projection(config).codes(word) == hash_word(word, config)


@settings(max_examples=200)
@given(config=configs(), raw=texts, as_str=st.booleans())
def test_spans_stay_in_order_and_inside(config: ProjectionConfig, raw: bytes, as_str: bool) -> None:
    text = raw.decode("utf-8", "replace") if as_str else raw
    project = projection(config)
    spans = project.spans(text)
    assert len(spans) == len(project.tokens(text))
    edges = [edge for span in spans for edge in span]
    assert all(0 <= edge <= len(text) for edge in edges)
    # Separators can cut a character; both halves then get the whole of it.
    if not any(ord(c) > 127 for c in config.separators):
        assert edges == sorted(edges)
    normalized = config.normalize_repetition or config.normalize_spaces or config.separators
    if not normalized and config.split == "words":
        tokens = project.tokens(text)
        pieces = [token.decode() for token in tokens] if as_str else tokens
        assert [text[begin:end] for begin, end in spans] == pieces


def test_philox_known_answer() -> None:
    # Key and counter 0, from the test vectors of Random123.
    philox = Philox(0)
    assert [philox.next() for _ in range(4)] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
