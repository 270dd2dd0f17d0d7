"""The inference engine: against the float64 twin, against itself, and on inputs of every kind."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import twin

import pqrnn_native as pq
from pqrnn_native import _core
from pqrnn_native.reference import model as reference
from pqrnn_native.reference.recurrence import sigmoid

TEXTS = [
    "turn on the lights in the kitchen",
    "",
    "a",
    "What's the weather like in São Paulo tomorrow at 7:30?",
    "!!! ... ???",
    "naïve café, ﬀ ½ — 你好世界 สวัสดี 🙂",
    "   ",
    " ".join(f"word{i}" for i in range(300)),
    "b c",
    b"bytes \xff\xfe are \xc3\xa9 fine",
]
SMALL = pq.PQRNNConfig(
    projection=pq.ProjectionConfig(feature_size=96),
    bottleneck_size=24,
    state_size=20,
    num_layers=2,
    output_size=30,
)
LABELS = ("no", "yes", "maybe")
CONFIGS = {
    "plain": SMALL,
    "paper-like": pq.PQRNNConfig(projection=pq.ProjectionConfig(feature_size=256), num_layers=2),
    "odd-sizes": pq.PQRNNConfig(
        projection=pq.ProjectionConfig(feature_size=33), bottleneck_size=1, state_size=1,
        kernel_size=3, num_layers=3, output_size=1,
    ),
    "one-direction": pq.PQRNNConfig(
        projection=pq.ProjectionConfig(feature_size=130), bottleneck_size=17, state_size=40,
        num_layers=2, bidirectional=False, pooling="f", output_size=65, kernel_size=1,
    ),
    "ifo-skip-heads": pq.PQRNNConfig(
        projection=pq.ProjectionConfig(feature_size=64, bos=True, eos=True), bottleneck_size=30,
        state_size=21, num_layers=2, pooling="ifo", skip=True, attention_heads=9, output_size=16,
    ),
    "wide": pq.PQRNNConfig(
        projection=pq.ProjectionConfig(feature_size=1000), bottleneck_size=300, state_size=72,
        num_layers=1, kernel_size=5, output_size=100, attention_heads=4,
    ),
    "extra-features": pq.PQRNNConfig(
        projection=pq.ProjectionConfig(
            feature_size=80, split="space", first_cap=1.0, all_caps=1.0, novelty_bits=3,
            doc_size_levels=5,
        ),
        bottleneck_size=48, state_size=16, num_layers=1, skip=True, output_size=20,
    ),
    "ngrams": pq.PQRNNConfig(
        projection=pq.ProjectionConfig(
            feature_size=1120, ngram_size=1056, ngram_min=1, ngram_max=3, split_apostrophes=True,
            eos=True,
        ),
        bottleneck_size=40, state_size=24, num_layers=2, output_size=20,
    ),
    "ngrams-alone": pq.PQRNNConfig(
        projection=pq.ProjectionConfig(feature_size=256, ngram_size=256, first_cap=1.0),
        bottleneck_size=40, state_size=24, num_layers=1, output_size=20,
    ),
    "hashes": pq.PQRNNConfig(
        projection=pq.ProjectionConfig(feature_size=960, token_hashes=7),
        bottleneck_size=40, state_size=24, num_layers=2, output_size=20, skip=True,
    ),
    "hashed-ngrams": pq.PQRNNConfig(
        projection=pq.ProjectionConfig(
            feature_size=1120, ngram_size=608, token_hashes=7, ngram_hashes=3, eos=True,
        ),
        bottleneck_size=100, state_size=24, num_layers=1, output_size=20,
    ),
    "hashes-and-extras": pq.PQRNNConfig(
        projection=pq.ProjectionConfig(
            feature_size=320, ngram_size=128, token_hashes=6, first_cap=1.0,
        ),
        bottleneck_size=40, state_size=24, num_layers=1, output_size=20,
    ),
    "hashed-tokens-alone": pq.PQRNNConfig(
        projection=pq.ProjectionConfig(feature_size=320, ngram_size=128, token_hashes=6),
        bottleneck_size=40, state_size=24, num_layers=1, output_size=20,
    ),
    "hashed-ngrams-alone": pq.PQRNNConfig(
        projection=pq.ProjectionConfig(feature_size=320, ngram_size=128, ngram_hashes=6),
        bottleneck_size=40, state_size=24, num_layers=1, output_size=20,
    ),
    "classes": pq.PQRNNConfig(
        task="classification", projection=pq.ProjectionConfig(feature_size=64, split="codepoints"),
        bottleneck_size=32, state_size=32, num_layers=1, labels=LABELS,
    ),
    "many-labels": pq.PQRNNConfig(
        task="classification", projection=pq.ProjectionConfig(feature_size=64, hash="xfixhash16"),
        bottleneck_size=32, state_size=32, num_layers=1, labels=LABELS, multi_label=True,
    ),
}  # fmt: skip


def raw(model: Any, texts: Any, **options: Any) -> Any:
    return model._run(
        texts, **{"batch_size": None, "threads": 1, "normalize": False, "out": None,
                  "progress": None, **options},
    )  # fmt: skip


@pytest.fixture
def model(tmp_path: Path, rng: np.random.Generator) -> pq.Encoder:
    path, _ = twin.random_model(SMALL, rng, tmp_path)
    encoder = pq.load(path)
    assert isinstance(encoder, pq.Encoder)
    return encoder


@pytest.mark.parametrize("name", CONFIGS)
def test_engine_equals_the_twin(
    name: str, isa: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    config = CONFIGS[name]
    path, tensors = twin.random_model(config, rng, tmp_path)
    model = pq.load(path)
    assert model.isa == isa
    assert model.config == config
    found = raw(model, TEXTS)
    projection = twin.projection(config)
    for row, text in zip(found, TEXTS, strict=True):
        features = np.maximum(projection.ragged([text], dtype=np.float32)[0], -1)
        expected = reference.outputs(config, tensors, features.astype(np.float64))
        np.testing.assert_allclose(row, expected, rtol=2e-4, atol=2e-5, err_msg=repr(text[:30]))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_text_has_its_own_bits(
    name: str, isa: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    del isa
    path, _ = twin.random_model(CONFIGS[name], rng, tmp_path)
    model = pq.load(path)
    texts = TEXTS + [
        " ".join(rng.choice("the a of quick fox runs 7 ,".split(), n)) for n in range(60)
    ]
    alone = np.stack([raw(model, text) for text in texts])
    np.testing.assert_array_equal(raw(model, texts), alone)
    for batch_size in (1, 2, 7, 1000):
        np.testing.assert_array_equal(raw(model, texts, batch_size=batch_size), alone)
    np.testing.assert_array_equal(raw(model, texts, threads=3), alone)
    order = rng.permutation(len(texts))
    np.testing.assert_array_equal(raw(model, [texts[i] for i in order]), alone[order])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_stored_types_are_dequantised(dtype: str, tmp_path: Path, rng: np.random.Generator) -> None:
    path, exact = twin.random_model(SMALL, rng, tmp_path, dtype)
    stored = pq.checkpoint.load_tensors(path)
    for name, value in exact.items():
        rows = np.abs(value.reshape(len(value), -1)).max(1)
        unit = {"float32": 0 * rows, "float16": rows * 2.0**-11, "int8": rows / 254}[dtype]
        error = np.abs(stored[name] - value).reshape(len(value), -1).max(1)
        assert (error <= (unit if name.endswith("weight") else 0) * 1.001).all(), name
    features = twin.projection(SMALL).ragged([TEXTS[0]], dtype=np.float32)[0]
    expected = reference.outputs(SMALL, stored, features)
    np.testing.assert_allclose(raw(pq.load(path), TEXTS[0]), expected, rtol=2e-4, atol=2e-5)


def test_long_text_goes_through_in_parts(
    isa: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    config = CONFIGS["odd-sizes"]
    path, tensors = twin.random_model(config, rng, tmp_path)
    for steps in (255, 256, 257, 513, 1030):
        text = " ".join(f"w{number}" for number in rng.integers(0, 700, steps))
        features = twin.projection(config).ragged([text], dtype=np.float32)[0]
        assert len(features) == steps
        expected = reference.states(config, tensors, features)
        found = pq.load(path).encode_tokens(text)
        np.testing.assert_allclose(found.vectors, expected, rtol=2e-4, atol=2e-5, err_msg=isa)


def test_a_cached_token_has_the_same_bits(
    isa: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    path, _ = twin.random_model(CONFIGS["ifo-skip-heads"], rng, tmp_path)
    words = [f"token{i}" for i in range(1500)]  # more than the cache takes
    texts = [" ".join(rng.choice(words, n % 23)) for n in range(800)]
    model = pq.load(path)
    assert model.isa == isa
    cold = raw(model, texts)
    np.testing.assert_array_equal(raw(model, texts), cold)
    np.testing.assert_array_equal(raw(model, texts[::-1], threads=2)[::-1], cold)
    for row in range(0, 800, 97):
        np.testing.assert_array_equal(raw(pq.load(path), texts[row]), cold[row])


def test_vectors_have_length_one(model: pq.Encoder) -> None:
    vectors = model.encode(TEXTS)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    empty = np.array([text in ("", "   ") for text in TEXTS])
    np.testing.assert_allclose(lengths[~empty], 1, atol=1e-6)
    assert (vectors[empty] == 0).all()
    unscaled = model.encode(TEXTS, normalize=False)
    with np.errstate(invalid="ignore"):
        scaled = unscaled / np.linalg.norm(unscaled, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors[~empty], scaled[~empty], rtol=1e-5, atol=1e-7)


def test_shapes_of_one_and_of_many(model: pq.Encoder) -> None:
    assert model.encode("a b").shape == (30,)
    assert model.encode(b"a b").shape == (30,)
    assert model.encode(["a b"]).shape == (1, 30)
    assert model.encode([]).shape == (0, 30)
    assert model.encode(()).dtype == np.float32
    assert model.dim == 30
    expected = model.encode(["a", "b b"])
    for texts in (("a", "b b"), (t for t in ["a", "b b"]), np.array(["a", "b b"]),
                  np.array(["a", "b b"], object), {"a": 1, "b b": 2}, [b"a", "b b"]):  # fmt: skip
        np.testing.assert_array_equal(model.encode(texts), expected)


def test_only_punctuation_has_a_vector(model: pq.Encoder) -> None:
    vector = model.encode("!!! ... ???")
    assert np.isfinite(vector).all()
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_invalid_bytes_count_as_replacement_characters(model: pq.Encoder) -> None:
    np.testing.assert_array_equal(
        model.encode(b"caf\xe9 x"), model.encode("caf\N{REPLACEMENT CHARACTER} x")
    )
    np.testing.assert_array_equal(
        model.encode("a \ud800 b"), model.encode("a \N{REPLACEMENT CHARACTER} b")
    )
    np.testing.assert_array_equal(model.encode(["a\0b"]), model.encode([b"a\0b"]))


def test_a_million_characters(model: pq.Encoder) -> None:
    text = "word salad, " * (1_000_000 // 12)
    vector = model.encode(text)
    assert np.isfinite(vector).all()
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(model.encode(["a", text, "b"])[1], vector)
    one_token = model.encode("x" * 1_000_000)
    assert np.isfinite(one_token).all()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (None, "texts must be str, bytes or a list of them, got NoneType"),
        (3, "texts must be str, bytes or a list of them, got int"),
        (2.5, "got float"),
        ([None], r"texts\[0\] must be str or bytes, got NoneType"),
        (["a", 7], r"texts\[1\] must be str or bytes, got int"),
        (["a", ["b"]], r"texts\[1\] must be str or bytes, got list"),
        (np.zeros(2), r"texts\[0\] must be str or bytes, got .*float64"),
        (np.array([["a"]]), r"texts\[0\] must be str or bytes, got .*ndarray"),
        (bytearray(b"a"), r"texts\[0\] must be str or bytes, got int"),
    ],
)
def test_what_is_no_text_is_a_type_error(model: pq.Encoder, texts: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        model.encode(texts)
    with pytest.raises(TypeError, match=message):
        model.encode_tokens(texts)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threads": 0}, ValueError, "threads must be at least 1, got 0"),
        ({"threads": 1.5}, TypeError, "threads must be int or None, got 1.5"),
        ({"threads": True}, TypeError, "threads must be int or None, got True"),
        ({"batch_size": -3}, ValueError, "batch_size must be at least 1, got -3"),
        ({"batch_size": "8"}, TypeError, "batch_size must be int or None, got '8'"),
        ({"normalize": 1}, TypeError, "normalize must be bool, got 1"),
        ({"progress": 3}, TypeError, "progress must be callable or bool, got 3"),
        ({"out": [0.0]}, TypeError, "out must be a NumPy array, got list"),
        ({"out": np.zeros((2, 30))}, TypeError, "out must be of dtype float32, got float64"),
        ({"out": np.zeros((2, 30), ">f4")}, TypeError, "out must be of dtype float32, got >f4"),
        ({"out": np.zeros((3, 30), np.float32)}, ValueError, r"shape \(2, 30\), got \(3, 30\)"),
        ({"out": np.zeros((30, 2), np.float32).T}, ValueError, "out must be c_contiguous"),
        ({"out": np.broadcast_to(np.float32(0), (2, 30))}, ValueError, "out must be c_contiguous"),
    ],
)
def test_bad_arguments_are_named(
    model: pq.Encoder, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model.encode(["a", "b"], **options)


def test_out_is_written_and_returned(model: pq.Encoder) -> None:
    expected = model.encode(TEXTS)
    out = np.full(expected.shape, np.nan, np.float32)
    assert model.encode(TEXTS, out=out) is out
    np.testing.assert_array_equal(out, expected)
    table = np.full((3, *expected.shape), np.inf, np.float32)
    model.encode(TEXTS, out=table[1], threads=2)
    np.testing.assert_array_equal(table[1], expected)
    assert np.isinf(table[[0, 2]]).all()
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out must be writeable"):
        model.encode(TEXTS, out=out)
    one = np.zeros(30, np.float32)
    np.testing.assert_array_equal(model.encode(TEXTS[0], out=one), expected[0])


def test_out_may_be_a_memory_map(model: pq.Encoder, tmp_path: Path) -> None:
    out = np.lib.format.open_memmap(tmp_path / "v.npy", "w+", np.float32, (len(TEXTS), 30))
    model.encode(TEXTS, out=out)
    out.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), model.encode(TEXTS))


def test_tokens_and_their_places(tmp_path: Path, rng: np.random.Generator) -> None:
    config = CONFIGS["ifo-skip-heads"]  # with tags at both ends
    path, tensors = twin.random_model(config, rng, tmp_path)
    model = pq.load(path)
    assert isinstance(model, pq.Encoder)
    text = "Zürich: 你好 (again)"
    found = model.encode_tokens(text)
    assert [text[a:b] for a, b in found.spans] == ["Zürich", ":", "你", "好", "(", "again", ")"]
    assert found.spans.dtype == np.int64
    features = twin.projection(config).ragged([text], dtype=np.float32)[0]
    expected = reference.states(config, tensors, features)[1:-1]
    np.testing.assert_allclose(found.vectors, expected, rtol=2e-4, atol=2e-5)
    raw_bytes = text.encode()
    in_bytes = model.encode_tokens(raw_bytes)
    assert [raw_bytes[a:b].decode() for a, b in in_bytes.spans] == [
        text[a:b] for a, b in found.spans
    ]
    np.testing.assert_array_equal(in_bytes.vectors, found.vectors)
    many = model.encode_tokens(iter([text, ""]))
    np.testing.assert_array_equal(many[0].vectors, found.vectors)
    assert many[1].vectors.shape == (0, config.pooled_size)
    assert many[1].spans.shape == (0, 2)


def test_classifier(tmp_path: Path, rng: np.random.Generator) -> None:
    config = CONFIGS["classes"]
    path, tensors = twin.random_model(config, rng, tmp_path)
    model = pq.load(path)
    assert isinstance(model, pq.Classifier)
    assert model.classes == LABELS
    assert model.dim == 3
    probabilities = model.predict_proba(TEXTS)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    logits = raw(model, TEXTS)
    e = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(probabilities, e / e.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_array_equal(logits[1], tensors["head.bias"])  # the empty text
    expected = [LABELS[i] for i in probabilities.argmax(1)]
    assert model.predict(TEXTS) == expected
    assert model.predict(TEXTS[0]) == expected[0]
    assert model.predict([]) == []
    assert model.predict_proba("a").shape == (3,)


def test_multi_label_classifier(tmp_path: Path, rng: np.random.Generator) -> None:
    path, _ = twin.random_model(CONFIGS["many-labels"], rng, tmp_path)
    model = pq.load(path)
    assert isinstance(model, pq.Classifier)
    probabilities = model.predict_proba(TEXTS)
    np.testing.assert_allclose(probabilities, sigmoid(raw(model, TEXTS)), rtol=1e-5)
    found = model.predict(TEXTS)
    for row, labels in zip(probabilities, found, strict=True):
        assert labels == tuple(name for name, p in zip(LABELS, row, strict=True) if p >= 0.5)


def test_pickle_and_save_keep_every_bit(model: pq.Encoder, tmp_path: Path) -> None:
    expected = model.encode(TEXTS)
    copy = pickle.loads(pickle.dumps(model))
    assert type(copy) is pq.Encoder
    np.testing.assert_array_equal(copy.encode(TEXTS), expected)
    model.save(tmp_path / "saved.safetensors")
    again = pq.load(tmp_path / "saved.safetensors")
    assert again.config == model.config
    np.testing.assert_array_equal(again.encode(TEXTS), expected)
    again.save(tmp_path / "saved.safetensors")  # over itself
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors", "saved.safetensors"]


def test_a_model_keeps_its_instruction_set(model: pq.Encoder) -> None:
    before = _core.isa()
    expected = model.encode(TEXTS)
    try:
        for name in pq.available_isas():
            _core.set_isa(name)
            assert model.isa == before
            np.testing.assert_array_equal(model.encode(TEXTS), expected)
    finally:
        _core.set_isa(before)


def test_progress_reports_to_the_end(model: pq.Encoder) -> None:
    calls: list[tuple[int, int]] = []
    model.encode(["a b c"] * 5000, progress=lambda *call: calls.append(call), batch_size=10)
    assert calls[-1] == (5000, 5000)
    done = [call[0] for call in calls]
    assert done == sorted(done)
    assert {call[1] for call in calls} == {5000}
    model.encode([], progress=lambda *call: calls.append(call))
    assert calls[-1] == (0, 0)
    np.testing.assert_array_equal(model.encode(["a"], progress=False), model.encode(["a"]))


def test_progress_bar_without_tqdm_is_silent(
    model: pq.Encoder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    model.encode(["a", "b"], progress=True)
    assert capsys.readouterr() == ("", "")


def test_an_error_in_progress_comes_through(model: pq.Encoder) -> None:
    def fail(done: int, total: int) -> None:
        raise LookupError(f"{done} of {total}")

    with pytest.raises(LookupError, match="of 3"):
        model.encode(["a", "b", "c"], progress=fail)
    with pytest.raises(LookupError, match="of 3000"):  # long enough to be asked in between
        model.encode(["long text " * 500] * 3000, progress=fail)
    assert model.encode(["a"]).shape == (1, 30)


def test_the_class_follows_from_the_file(tmp_path: Path, rng: np.random.Generator) -> None:
    path, _ = twin.random_model(CONFIGS["classes"], rng, tmp_path)
    assert type(pq.load(str(path))) is pq.Classifier
    with pytest.raises(ValueError, match="Encoder needs a model for task 'embedding', got one for"):
        pq.Encoder(path.read_bytes())
    with pytest.raises(FileNotFoundError):
        pq.load(tmp_path / "absent.safetensors")


def test_facts_of_a_model(model: pq.Encoder) -> None:
    assert "dim=30" in repr(model)
    assert model.config == SMALL
    # Padded to whole vectors, so a little more than four bytes a weight.
    assert model.nbytes >= 4 * SMALL.parameter_count()
