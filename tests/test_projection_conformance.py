"""Every record of the published operator's recorded outputs, bit for bit, on every ISA."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pqrnn_native.projection import Projection, english_tokens

Record = dict[str, Any]

# kind -> records in the published file; a test that silently ran fewer would prove nothing.
KINDS = {
    "op": 5416,
    "hash": 733,
    "batch": 22,
    "op_v2": 54,
    "tflite_u8": 116,
    "distort": 23,
    "english_tokenizer": 75,
}


@cache
def _records(path: Path) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    with path.open(encoding="ascii") as lines:
        for line in lines:
            record = json.loads(line)
            found.setdefault(record["kind"], []).append(record)
    return found


@pytest.fixture
def records(shared: Path, request: pytest.FixtureRequest) -> list[Record]:
    path = shared / "conformance" / "projection_public.jsonl"
    if not path.is_file():
        pytest.skip(f"no conformance vectors at {path}")
    kind = request.param
    found = _records(path)[kind]
    assert len(found) == KINDS[kind]
    return found


def of_kind(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("records", [kind], indirect=True)


def as_bytes(value: Any) -> bytes:
    """A byte string inside a list."""
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value.encode()


def field(record: Record, name: str) -> bytes:
    """A byte string that is a field of its own, in one of its three spellings."""
    if f"{name}_hex" in record:
        return bytes.fromhex(record[f"{name}_hex"])
    if f"{name}_repeat" in record:
        text, count = record[f"{name}_repeat"]
        return text.encode() * count
    return record[name].encode()


def projection(record: Record, **changes: Any) -> Projection:
    options = {**record["options"], **changes}
    return Projection.from_attributes(char=record.get("char", "signed"), **options)


def star(features: np.ndarray, options: Record) -> list[str]:
    """Features as the file writes them, extra columns as stars."""
    symbols = np.full(features.shape, ord("?"), np.uint8)
    for value, symbol in ((0, "0"), (1, "+"), (-1, "-")):
        symbols[features == value] = ord(symbol)
    if options.get("word_novelty_bits", 0) > 0:
        symbols[:, -1] = ord("*")
    if options.get("doc_size_levels", 0) > 0:
        symbols[:, -2] = ord("*")
    return [row.tobytes().decode() for row in symbols]


def digest(rows: list[str]) -> str:
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def check_extras(features: np.ndarray, options: Record, novelty: Any, doc_size: Any) -> None:
    if novelty is not None:
        np.testing.assert_array_equal(features[: len(novelty), -1], np.float32(novelty))
    if doc_size is not None:
        expected = np.float32(doc_size)  # "-inf" too
        np.testing.assert_allclose(features[:, -2], expected, rtol=0, atol=1e-6)


@of_kind("op")
def test_op(records: list[Record], isa: str) -> None:
    for record in records:
        options, text, where = record["options"], field(record, "input"), record["id"]
        project = projection(record)
        if "error" in record:
            with pytest.raises(ValueError, match="must have a token"):
                project.ragged(text)
            continue
        features, offsets = project.ragged(text, dtype=np.float32)
        assert offsets.tolist() == [0, record["length"]], where
        rows = star(features, options)
        assert digest(rows) == record["sha256"], where
        assert rows == record.get("features", rows), where
        check_extras(features, options, record.get("novelty"), record.get("doc_size"))
        if "tokens" in record:
            assert project.tokens(text) == [as_bytes(t) for t in record["tokens"]], where
        if "words" in record:
            assert project.words(text) == [as_bytes(w) for w in record["words"]], where
        if not {"word_novelty_bits", "doc_size_levels"} & options.keys():
            ternary, _ = project.ragged(text)
            assert ternary.dtype == np.int8
            np.testing.assert_array_equal(ternary, features, err_msg=where)


@of_kind("op")
def test_padded_equals_ragged(records: list[Record], isa: str) -> None:
    for record in records[::7]:
        if "error" in record:
            continue
        text = field(record, "input")
        features, lengths = projection(record).padded([text])
        ragged, _ = projection(record).ragged([text], dtype=np.float32)
        assert lengths.tolist() == [record["length"]]
        np.testing.assert_array_equal(features[0], ragged)


@of_kind("hash")
def test_hash(records: list[Record]) -> None:
    for record in records:
        project = Projection(
            record["feature_size"], hash=record["hashtype"], char=record.get("char", "signed")
        )
        codes = [f"{code:016x}" for code in project.codes(field(record, "word"))]
        assert codes == record["codes"], record["id"]


@of_kind("batch")
def test_batch(records: list[Record], isa: str) -> None:
    for record in records:
        options, texts = record["options"], [as_bytes(t) for t in record["inputs"]]
        features, lengths = projection(record).padded(texts)
        assert lengths.tolist() == record["lengths"]
        assert features.shape[1] == record["max_length"]
        for i, rows in enumerate(record["features"]):
            length = lengths[i]
            assert star(features[i, :length], options) == rows[:length], record["id"]
            assert not features[i, length:].any()
            assert set("".join(rows[length:])) <= {"0", "*"}
            novelty, doc_size = (
                record.get(name, [None] * len(texts))[i] for name in ("novelty", "doc_size")
            )
            novelty = novelty and novelty[:length]
            check_extras(features[i, :length], options, novelty, doc_size)


@of_kind("op_v2")
def test_op_v2(records: list[Record], isa: str) -> None:
    for record in records:
        lists = [
            [as_bytes(t) for t in tokens[:length]]
            for tokens, length in zip(record["tokens"], record["sequence_length"], strict=True)
        ]
        features, lengths = projection(record, version=2).presegmented(lists)
        assert lengths.tolist() == [len(words) for words in record["words"]], record["id"]
        for i, rows in enumerate(record["features"]):
            assert star(features[i, : lengths[i]], record["options"]) == rows[: lengths[i]]
            assert not features[i, lengths[i] :].any()
            assert set("".join(rows[lengths[i] :])) <= {"0"}


@of_kind("tflite_u8")
def test_on_device_coding(records: list[Record], isa: str) -> None:
    for record in records:
        features, offsets = projection(record).ragged(field(record, "input"), dtype=np.uint8)
        assert offsets.tolist() == [0, record["length"]]
        assert [row.tobytes().hex() for row in features] == record["features_u8_hex"], record["id"]


@of_kind("distort")
def test_distort(records: list[Record], isa: str) -> None:
    for record in records:
        options, texts = record["options"], [as_bytes(t) for t in record["inputs"]]
        features, lengths = projection(record).padded(texts)
        assert lengths.tolist() == record["lengths"], record["id"]
        found = [star(text, options) for text in features]
        if "features" in record:
            assert found == record["features"], record["id"]
        else:
            assert [digest(rows) for rows in found] == record["sha256"], record["id"]
        if "words" in record:
            fresh = projection(record)
            words = [fresh.words(text) for text in texts]
            assert words == [[as_bytes(w) for w in text] for text in record["words"]]


@of_kind("english_tokenizer")
def test_english_tokenizer(records: list[Record]) -> None:
    for record in records:
        limits = {name: record[name] for name in ("max_input", "max_tokens")}
        found = english_tokens(field(record, "input"), record["separators"], **limits)
        assert found == [as_bytes(token) for token in record["tokens"]], record["id"]
