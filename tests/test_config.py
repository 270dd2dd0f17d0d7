"""The configuration: what it refuses, its JSON form, and that Python and C++ read it alike."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import twin

import pqrnn_native as pq
from pqrnn_native.config import PQRNNConfig, ProjectionConfig

PARSING: dict[str, Any] = {
    "task": "parsing", "intents": ("a", "b"), "slots": ("O", "B-x", "I-x"),
}  # fmt: skip
TINY: dict[str, Any] = {"bottleneck_size": 3, "state_size": 2, "num_layers": 1, "output_size": 5}


def test_paper_configuration_has_two_million_weights() -> None:
    config = PQRNNConfig(projection=ProjectionConfig(feature_size=1024))
    layer = 2 * (384 * 2 * 256 + 384)
    expected = 256 * 1024 + 256 + 4 * layer + (256 + 1) + (256 * 256 + 256)
    assert config.parameter_count() == expected == 1_904_385


def test_shapes_of_all_tensors() -> None:
    config = PQRNNConfig(
        projection=ProjectionConfig(feature_size=7), bottleneck_size=5, state_size=3,
        kernel_size=2, num_layers=2, pooling="ifo", skip=True, attention_heads=11, output_size=4,
    )  # fmt: skip
    assert config.pooled_size == 11
    assert config.tensor_shapes() == {
        "bottleneck.weight": (5, 7), "bottleneck.bias": (5,),
        "layers.0.forward.weight": (12, 2, 5), "layers.0.forward.bias": (12,),
        "layers.0.backward.weight": (12, 2, 5), "layers.0.backward.bias": (12,),
        "layers.1.forward.weight": (12, 2, 6), "layers.1.forward.bias": (12,),
        "layers.1.backward.weight": (12, 2, 6), "layers.1.backward.bias": (12,),
        "attention.weight": (11, 11), "attention.bias": (11,),
        "head.weight": (4, 11), "head.bias": (4,),
    }  # fmt: skip
    parsing = PQRNNConfig(task="parsing", intents=("a", "b"), slots=("O", "B", "I"), pooling="f")
    assert parsing.gates == 2
    assert parsing.tensor_shapes()["slots.weight"] == (3, 256)
    assert "head.weight" not in parsing.tensor_shapes()
    assert "slots.context.weight" not in parsing.tensor_shapes()
    context = dataclasses.replace(parsing, slot_context=True)
    assert context.tensor_shapes()["slots.context.weight"] == (3, 256)
    assert context.parameter_count() - parsing.parameter_count() == 3 * 256
    crf = dataclasses.replace(parsing, crf=True)
    assert crf.tensor_shapes()["slots.transitions"] == (3, 3)
    assert crf.parameter_count() - parsing.parameter_count() == 3 * 3
    tagger = dataclasses.replace(parsing, intents=())
    assert parsing.tensor_shapes().keys() - tagger.tensor_shapes().keys() == {
        "intent.weight", "intent.bias",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": "translation"}, "task must be one of 'embedding'.* got 'translation'"),
        ({"pooling": "of"}, "pooling must be one of .* got 'of'"),
        ({"state_size": 0}, r"state_size must be in \[1, 8192\], got 0"),
        ({"bottleneck_size": 8193}, "bottleneck_size .* got 8193"),
        ({"kernel_size": 65}, "kernel_size .* got 65"),
        ({"num_layers": 0}, "num_layers .* got 0"),
        ({"output_size": -1}, "output_size .* got -1"),
        ({"zoneout": 1.0}, "zoneout must be below 1, got 1.0"),
        ({"zoneout": float("nan")}, "zoneout .* got nan"),
        ({"zoneout": 10**400}, "zoneout must be in"),
        ({"attention_heads": 3}, "divisor of the pooled width 256, got 3"),
        ({"attention_heads": 0}, "divisor of the pooled width 256, got 0"),
        ({"labels": ("a",)}, "labels must be empty for task 'embedding'"),
        ({"task": "classification"}, "labels must not be empty"),
        ({"task": "classification", "labels": ("a", "b", "a")}, "distinct, got 'a' twice"),
        ({"task": "classification", "labels": ("\ud800",)}, "lone surrogates"),
        ({"task": "parsing", "intents": ("a",)}, "slots must not be empty"),
        ({"task": "parsing", "slots": ("O",), "labels": ("a",)}, "labels must be empty"),
        ({"intents": ("a",)}, "intents must be empty for task 'embedding'"),
        ({"multi_label": True}, "multi_label=True needs task='classification'"),
        ({"slot_context": True}, "slot_context=True needs task='parsing', got 'embedding'"),
        ({"crf": True}, "crf=True needs task='parsing', got 'embedding'"),
        ({"intent_tags": ((0,),)}, "a row for each of 0 intents, got 1"),
        ({**PARSING, "intent_tags": ((0,),)}, "a row for each of 2 intents, got 1"),
        ({**PARSING, "intent_tags": ((0, 3), ())}, r"of the 3 slots, got \(0, 3\)"),
        ({**PARSING, "intent_tags": ((), (1, 0))}, r"ascending numbers .* got \(1, 0\)"),
        ({**PARSING, "intent_tags": ((0, 0), ())}, r"ascending numbers .* got \(0, 0\)"),
        ({**PARSING, "intent_tags": ((), (1, 2))}, r"must hold the tag 'O' .* got \(1, 2\)"),
    ],
)
def test_bad_values_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PQRNNConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"state_size": 2.0}, "state_size must be int, got 2.0"),
        ({"state_size": True}, "state_size must be int, got True"),
        ({"skip": 1}, "skip must be bool, got 1"),
        ({"task": None}, "task must be str, got None"),
        ({"labels": "abc"}, "labels must be .* got 'abc'"),
        ({"task": "classification", "labels": (1,)}, "labels must hold str, got 1"),
        ({"projection": {}}, "projection must be ProjectionConfig, got {}"),
        ({"zoneout": "0.1"}, "zoneout must be float, got '0.1'"),
    ],
)
def test_wrong_types_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        PQRNNConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"feature_size": 0}, r"feature_size must be in \[1, 65536\], got 0"),
        ({"feature_size": 65537}, "got 65537"),
        ({"split": "lines"}, "split must be one of .* got 'lines'"),
        ({"hash": "md5"}, "hash must be one of .* got 'md5'"),
        ({"char": "utf8"}, "char must be one of .* got 'utf8'"),
        ({"first_cap": 1.5}, "first_cap .* got 1.5"),
        ({"distortion": -0.1}, "distortion .* got -0.1"),
        ({"novelty_bits": 8}, "novelty_bits .* got 8"),
        ({"doc_size_levels": 17}, "doc_size_levels .* got 17"),
        ({"feature_size": 3, "all_caps": 1.0}, "feature_size must be at least 4 .* got 3"),
        ({"alphabetic_only": True, "vocabulary": "abc"}, "vocabulary must be empty .* got 'abc'"),
        ({"ngram_size": 31}, r"ngram_size must be a multiple of 32 in \[0, 512\], got 31"),
        ({"ngram_max": 1}, r"ngram_max must be in \[2, 8\], got 1"),
        ({"token_hashes": 513}, r"token_hashes must be in \[0, 512\], got 513"),
        ({"ngram_hashes": -1}, r"ngram_hashes must be in \[0, 512\], got -1"),
        ({"split": "space", "split_apostrophes": True}, "split_apostrophes=True needs split="),
    ],
)
def test_bad_projections_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProjectionConfig(**fields)


def test_it_is_frozen_hashable_and_comparable() -> None:
    config = PQRNNConfig(task="classification", labels=["a", "b"])  # type: ignore[arg-type]
    assert config.labels == ("a", "b")
    assert hash(config) == hash(PQRNNConfig(task="classification", labels=("a", "b")))
    assert config != PQRNNConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.state_size = 3  # type: ignore[misc]


names = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=4, unique=True
)
unit = st.floats(0, 1)


@hypothesis.given(
    st.builds(
        ProjectionConfig,
        feature_size=st.integers(4, 4096),
        split=st.sampled_from(["words", "space", "codepoints"]),
        hash=st.sampled_from(["murmur", "xfixhash8", "unicodehash16"]),
        char=st.sampled_from(["signed", "unsigned"]),
        lower=st.booleans(),
        bos=st.booleans(),
        max_tokens=st.integers(-5, 2**31 - 1),
        separators=st.text(st.characters(max_codepoint=127), max_size=4),
        vocabulary=st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
        first_cap=unit,
        distortion=unit,
        novelty_bits=st.integers(0, 7),
    )
)
def test_projection_round_trip(config: ProjectionConfig) -> None:
    assert ProjectionConfig.from_json(config.to_json()) == config


@hypothesis.given(labels=names.filter(bool), zoneout=st.floats(0, 0.99), skip=st.booleans())
def test_round_trip(labels: list[str], zoneout: float, skip: bool) -> None:
    config = PQRNNConfig(
        task="classification", labels=tuple(labels), zoneout=zoneout, skip=skip, num_layers=3
    )
    assert PQRNNConfig.from_json(config.to_json()) == config


def test_missing_keys_have_defaults() -> None:
    assert PQRNNConfig.from_json("{}") == PQRNNConfig()
    assert PQRNNConfig.from_json('{"projection": {"feature_size": 9}}') == PQRNNConfig(
        projection=ProjectionConfig(feature_size=9)
    )


BAD_JSON = [
    ('{"speed": 1}', "unknown key 'speed'"),
    ('{"projection": {"speed": 1}}', "unknown key 'speed'"),
    ('{"state_size": 2, "state_size": 2}', "twice"),
    ("[]", "object"),
    ("", "."),
    ('{"state_size": 2', "."),
    ('{"state_size": 2,}', "."),
    ('{"state_size": 2} x', "."),
    ('{"state_size": 02}', "."),
    ('{"zoneout": NaN}', "."),
    ('{"zoneout": 1e999}', "."),
    ('{"zoneout": .5}', "."),
    ('{"task": "emb\\edding"}', "."),
    ("{'task': 'embedding'}", "."),
    ('{"projection": ' + "[" * 3000 + "]" * 3000 + "}", "."),
    ('{"task": "embedding}', "."),
    ('{"labels": "abc"}', "."),
    ('{"labels": [1]}', "."),
    ('{"projection": 3}', "."),
    ('{"state_size": 99999999999999999999}', "."),
    ('{"state_size": -1}', "."),
    ('{"state_size": 1.0}', "."),
    ('{"attention_heads": 7}', "divisor"),
    ('{"lower": 1}', "."),
    ('{"skip": 0}', "."),
    ('{"slot_context": true}', "slot_context=True needs task"),
    ('{"crf": true}', "crf=True needs task"),
    ('{"intent_tags": [[0]]}', "a row for each of 0 intents"),
    ('{"intent_tags": 1}', "intent_tags must be"),
    ('{"task": "parsing", "intents": ["a"], "slots": ["O"], "intent_tags": [[0.5]]}', "."),
    ('{"task": "parsing", "intents": ["a"], "slots": ["O"], "intent_tags": [0]}', "."),
    ('{"task": "parsing", "intents": ["a"], "slots": ["O"], "intent_tags": [[1]]}', "of the 1"),
    ('{"task": "parsing", "intents": ["a"], "slots": ["O"], "intent_tags": [[-1]]}', "ascending"),
    ('{"task": "parsing", "intents": ["a"], "slots": ["O", "B-x"], "intent_tags": [[1]]}', "'O'"),
    ('{"task": "parsing"}', "slots must not be empty"),
    ('{"task": "parsing", "slots": ["O"], "labels": ["a"]}', "labels must be empty"),
    ('{"intents": ["a"]}', "intents must be empty"),
    ('{"projection": {"all_caps": 0.5, "feature_size": 3}}', "."),
    ('{"projection": {"alphabetic_only": true, "vocabulary": "a"}}', "."),
    ('{"projection": {"split": "space", "split_apostrophes": true}}', "split_apostrophes=True"),
    ('{"projection": {"ngram_size": 33}}', "ngram_size"),
    ('{"projection": {"ngram_size": 544}}', "ngram_size"),
    ('{"projection": {"ngram_size": -32}}', "ngram_size"),
    ('{"projection": {"ngram_size": 32, "feature_size": 100}}', "feature_size"),
    ('{"projection": {"ngram_size": 32, "hash": "xfixhash8"}}', "hash"),
    ('{"projection": {"ngram_min": 0}}', "ngram_min"),
    ('{"projection": {"ngram_min": 5}}', "ngram_max"),
    ('{"projection": {"ngram_max": 9}}', "ngram_max"),
    ('{"projection": {"token_hashes": 513}}', "token_hashes"),
    ('{"projection": {"token_hashes": -1}}', "token_hashes"),
    ('{"projection": {"token_hashes": 2, "feature_size": 100}}', "feature_size"),
    ('{"projection": {"token_hashes": 2, "hash": "xfixhash8"}}', "hash"),
    ('{"projection": {"token_hashes": 481, "ngram_size": 32}}', "token_hashes"),
    ('{"projection": {"ngram_hashes": 33, "ngram_size": 32}}', "ngram_hashes"),
    ('{"projection": {"ngram_hashes": 513}}', "ngram_hashes"),
    ('{"projection": {"split_apostrophes": 1}}', "."),
]


@pytest.mark.parametrize(("text", "message"), BAD_JSON)
def test_bad_json_is_refused_in_python(text: str, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        PQRNNConfig.from_json(text)


@pytest.mark.parametrize(("text", "message"), BAD_JSON)
def test_bad_json_is_refused_in_cpp(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        pq.Encoder(container(text))
    assert "tensor" not in str(error.value)  # it did not get as far as missing tensors


@pytest.mark.parametrize("whitespace", ["", " ", "\n\t\r "])
def test_cpp_reads_what_python_writes(whitespace: str, tmp_path: Path, rng: Any) -> None:
    config = PQRNNConfig(
        task="classification",
        labels=("plain", 'quo"te\\', "tab\t\n\x01", "é你🙂", "."),
        projection=ProjectionConfig(
            feature_size=64,
            vocabulary='aé"\\/🙂',
            first_cap=0.3,
            split_apostrophes=True,
            ngram_size=32,
            ngram_min=3,
            ngram_max=5,
            ngram_runs=False,
            token_hashes=4,
            ngram_hashes=2,
        ),
        zoneout=0.123456789,
        **{name: value for name, value in TINY.items() if name != "output_size"},
    )
    path, tensors = twin.random_model(config, rng, tmp_path)
    model = pq.load(path)
    assert model.config == config
    assert isinstance(model, pq.Classifier)
    assert model.classes == config.labels
    # The same text in another spelling: escapes for all, and white space between tokens.
    spelled = json.dumps(
        json.loads(config.to_json()), indent=whitespace or None, ensure_ascii=False
    )
    again = pq.Classifier(container(spelled, tensors))
    np.testing.assert_array_equal(again.predict_proba("a b c"), model.predict_proba("a b c"))


def container(config: str, tensors: dict[str, Any] | None = None) -> bytes:
    header: dict[str, Any] = {
        "__metadata__": {"format": "pqrnn", "format_version": "1", "config": config}
    }
    data = b""
    for name, value in (tensors or {}).items():
        raw = value.astype("<f4").tobytes()
        header[name] = {
            "dtype": "F32", "shape": value.shape, "data_offsets": [len(data), len(data) + len(raw)],
        }  # fmt: skip
        data += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data
