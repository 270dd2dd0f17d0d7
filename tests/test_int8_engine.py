"""The 8-bit engine: the very bits of its NumPy twin on every instruction set, in any company."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import twin
from hypothesis import strategies as st
from test_encode import CONFIGS, TEXTS, raw
from test_model_file import join, split
from test_parse import CONFIGS as PARSERS

import pqrnn_native as pq
from pqrnn_native import _core
from pqrnn_native.checkpoint import load_tensors, quantise_weight, save_model
from pqrnn_native.reference import quantised


def whole_model(
    config: pq.PQRNNConfig, rng: np.random.Generator, folder: Path
) -> tuple[pq.PQRNNConfig, Any, twin.Tensors]:
    """An 8-bit model of this shape, loaded, and its tensors as whole numbers."""
    config = dataclasses.replace(config, precision="int8")
    tensors: twin.Tensors = {}
    for name, value in twin.random_tensors(config, rng).items():
        if name.endswith(".range"):
            tensors[name] = np.abs(value) + np.float32(0.3)
        elif name.endswith(".bias"):
            tensors[name] = value
        else:
            tensors[name], tensors[f"{name}_scale"] = quantise_weight(value)
            # Batch norm may turn a column over.
            tensors[f"{name}_scale"] *= rng.choice(np.float32([-1, 1]), len(value))
    path = folder / "model.safetensors"
    save_model(path, config, tensors)
    return config, pq.load(path), tensors


def expected_outputs(config: pq.PQRNNConfig, tensors: twin.Tensors, texts: list[Any]) -> Any:
    projection = twin.projection(config)
    rows = [projection.ragged([text], dtype=np.float32)[0] for text in texts]
    return rows, np.stack([quantised.outputs(config, tensors, row) for row in rows])


@pytest.mark.parametrize("name", CONFIGS)
def test_engine_equals_the_twin(
    name: str, isa: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    config, model, tensors = whole_model(CONFIGS[name], rng, tmp_path)
    assert model.isa == isa
    _, expected = expected_outputs(config, tensors, TEXTS)
    np.testing.assert_array_equal(raw(model, TEXTS), expected)
    # Not a comparison of constants: outputs differ from text to text.
    assert len(np.unique(expected, axis=0)) > 4


@pytest.mark.parametrize("name", PARSERS)
def test_parser_equals_the_twin(
    name: str, isa: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    config, model, tensors = whole_model(PARSERS[name], rng, tmp_path)
    found = model.logits(TEXTS)
    rows, intents = expected_outputs(config, tensors, TEXTS)
    np.testing.assert_array_equal(found.intents, intents)
    for slots, row in zip(found.slots, rows, strict=True):
        tokens = slice(int(config.projection.bos), len(row) - int(config.projection.eos))
        np.testing.assert_array_equal(slots, quantised.slots(config, tensors, row)[tokens])


@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=60)
def test_engine_equals_the_twin_for_any_shape(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    draw = data.draw
    bidirectional, skip = draw(st.booleans()), draw(st.booleans())
    bottleneck, state = draw(st.integers(1, 70)), draw(st.integers(1, 40))
    pooled = state * (1 + bidirectional) + bottleneck * skip
    heads = draw(st.sampled_from([n for n in range(1, 9) if pooled % n == 0]))
    if ngrams := draw(st.sampled_from([0, 32, 96])):
        features = ngrams + 32 * draw(st.integers(0, 3))
    else:
        features = draw(st.integers(4, 200))
    shape = pq.PQRNNConfig(
        projection=pq.ProjectionConfig(
            feature_size=features,
            first_cap=draw(st.sampled_from([0.0, 1.0])),
            ngram_size=ngrams,
            ngram_runs=draw(st.booleans()),
            token_hashes=draw(st.integers(0, 4)) if ngrams and features > ngrams else 0,
            ngram_hashes=draw(st.integers(0, 4)),
        ),
        bottleneck_size=bottleneck,
        state_size=state,
        kernel_size=draw(st.integers(1, 4)),
        num_layers=draw(st.integers(1, 3)),
        bidirectional=bidirectional,
        pooling=draw(st.sampled_from(["f", "fo", "ifo"])),
        attention_heads=heads,
        skip=skip,
        output_size=draw(st.integers(1, 40)),
    )
    texts = draw(st.lists(st.text(max_size=60), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    config, model, tensors = whole_model(shape, rng, tmp_path_factory.mktemp("int8"))
    _, expected = expected_outputs(config, tensors, texts)
    np.testing.assert_array_equal(raw(model, texts), expected)


def test_rows_of_a_long_word_add_up_beyond_16_bits(
    isa: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    """A thousand times 127 is added and taken away: more than the sums of a part may be."""
    shape = pq.PQRNNConfig(
        projection=pq.ProjectionConfig(
            feature_size=16416, ngram_size=16384, token_hashes=1, ngram_hashes=1
        ),
        bottleneck_size=3,
        state_size=4,
        num_layers=1,
        output_size=4,
    )
    config, _, tensors = whole_model(shape, rng, tmp_path)
    tensors["bottleneck.weight"][:] = [[127], [-127], [126]]
    tensors["bottleneck.weight_scale"][:] = 3e-5
    path = tmp_path / "large.safetensors"
    save_model(path, config, tensors)
    texts = ["".join(rng.choice(list("abcdefghij"), 1000)) for _ in range(3)]
    features = twin.projection(config).ragged(texts)[0]
    assert len(features) == 3
    assert (np.count_nonzero(features > 0, axis=1) > 2 * 32767 / 127).all()
    _, expected = expected_outputs(config, tensors, texts)
    np.testing.assert_array_equal(raw(pq.load(path), texts), expected)


@pytest.mark.parametrize("bottleneck", [3, 64, 250, 300, 513])
@pytest.mark.parametrize("token_hashes", [0, 5])
def test_weights_of_2_bits_equal_the_twin(
    bottleneck: int, token_hashes: int, isa: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    """With hashed features they stay packed: words of few rows, and of hundreds of either sign."""
    shape = pq.PQRNNConfig(
        projection=pq.ProjectionConfig(
            feature_size=2048, ngram_size=1536, token_hashes=token_hashes, ngram_hashes=2
        ),
        bottleneck_size=bottleneck,
        state_size=4,
        num_layers=1,
        output_size=4,
    )
    config, _, tensors = whole_model(shape, rng, tmp_path)
    levels = rng.choice(np.array([-3, -1, 1, 3], np.int8), tensors["bottleneck.weight"].shape)
    levels[0] = 3  # sums as large as they become
    path = tmp_path / "coarse.safetensors"
    scale = tensors["bottleneck.weight_scale"]
    save_model(path, config, {**tensors, "bottleneck.weight": levels}, dtype="int2")
    # Levels have the sign of their scale, which is positive in the file and a rounding away.
    header, body = split(path.read_bytes())
    begin, end = header["bottleneck.weight_scale"]["data_offsets"]
    stored = np.frombuffer(body[begin:end], np.float32)
    np.testing.assert_allclose(stored, np.abs(scale), rtol=1e-6)
    tensors["bottleneck.weight"] = levels * np.sign(scale)[:, None].astype(np.int8)
    tensors["bottleneck.weight_scale"] = stored
    long = "".join(rng.choice(list("abcdefghij"), 400))
    texts = [*TEXTS, long, f"{long[:90]} {long[90:200]}"]
    features = twin.projection(config).ragged([long])[0]
    assert min(np.count_nonzero(features > 0), np.count_nonzero(features < 0)) > 3 * 85
    _, expected = expected_outputs(config, tensors, texts)
    np.testing.assert_array_equal(raw(pq.load(path), texts), expected)


def test_a_word_met_again_beside_others_has_the_bits_of_its_own_ngrams(
    isa: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Sums over a word's own features are kept, not those over n-grams that reach into others."""
    config, model, tensors = whole_model(CONFIGS["ngrams"], rng, tmp_path)
    assert config.projection.ngram_runs
    texts = ["alarm", "alarm,", "(alarm)", "alarm, alarm; alarm-clock", "時計", "を時計"]
    texts = [*texts, *(f"{a}{b}" for a in ("alarm", "時計", "at") for b in ".!?を")]
    _, expected = expected_outputs(config, tensors, texts)
    assert len(np.unique(expected, axis=0)) == len(texts)
    for _ in range(4):  # a word is kept when it is met for the second time
        np.testing.assert_array_equal(raw(model, texts), expected)
        for text, row in zip(texts, expected, strict=True):
            np.testing.assert_array_equal(raw(model, [text])[0], row)


@pytest.mark.parametrize("name", ["plain", "ifo-skip-heads", "ngrams", "classes", "many-labels"])
def test_bits_depend_on_the_text_alone(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    _, model, _ = whole_model(CONFIGS[name], rng, tmp_path)
    texts = TEXTS * 9
    alone = np.concatenate([raw(model, [text], normalize=True) for text in texts])
    for options in ({}, {"threads": 3}, {"batch_size": 7}, {"batch_size": 1, "threads": 2}):
        found = raw(model, texts, normalize=True, **options)
        np.testing.assert_array_equal(found, alone, err_msg=str(options))


def test_probabilities_have_the_same_bits_on_every_instruction_set(
    isa: str, tmp_path: Path
) -> None:
    for name in ("classes", "many-labels"):
        config, model, tensors = whole_model(CONFIGS[name], np.random.default_rng(3), tmp_path)
        _, logits = expected_outputs(config, tensors, TEXTS)
        if config.multi_label:
            expected = quantised.sigmoid(logits)
        else:
            expected = np.stack([quantised.softmax(row) for row in logits])
        np.testing.assert_array_equal(model.predict_proba(TEXTS), expected)


def test_token_states_are_on_their_grids(tmp_path: Path, rng: np.random.Generator) -> None:
    shape = CONFIGS["ifo-skip-heads"]
    config, model, tensors = whole_model(shape, rng, tmp_path)
    vectors = model.encode_tokens(["turn on the lights"])[0].vectors
    features = twin.projection(config).ragged(["turn on the lights"], dtype=np.float32)[0]
    low, high = quantised.states(config, tensors, features)
    width = config.bottleneck_size
    step = np.float32(np.float64(tensors["bottleneck.range"][0]) / 255)
    np.testing.assert_array_equal(vectors[:, :width], low[1:-1].astype(np.float32) * step)
    np.testing.assert_array_equal(
        vectors[:, width:], high[1:-1].astype(np.float32) * np.float32(1 / 127)
    )


def test_long_texts_are_cut_into_parts_without_a_trace(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    config, model, tensors = whole_model(CONFIGS["plain"], rng, tmp_path)
    text = " ".join(f"w{i % 97}" for i in range(1300))
    _, expected = expected_outputs(config, tensors, [text])
    np.testing.assert_array_equal(raw(model, [text]), expected)


def test_file_comes_back_as_floats(tmp_path: Path, rng: np.random.Generator) -> None:
    _, _, tensors = whole_model(CONFIGS["plain"], rng, tmp_path)
    found = load_tensors(tmp_path / "model.safetensors")
    name = "layers.1.backward.weight"
    expected = tensors[name] * tensors[f"{name}_scale"][:, None, None]
    np.testing.assert_array_equal(found[name], expected)
    np.testing.assert_array_equal(found["bottleneck.range"], tensors["bottleneck.range"])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("bottleneck.range", lambda x: -x, "must be positive"),
        ("pooled.range", lambda x: x * 0, "must be positive"),
        ("pooled.range", lambda x: x * np.float32(np.nan), "not finite"),
        ("head.weight", lambda x: x[:-1], "must have shape"),
        ("head.weight_scale", lambda x: x[:-1], "must have shape"),
    ],
)
def test_bad_tensors_are_not_saved(
    name: str, change: Any, message: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    config, _, tensors = whole_model(CONFIGS["plain"], rng, tmp_path)
    with pytest.raises(ValueError, match=message):
        save_model(tmp_path / "bad", config, tensors | {name: change(tensors[name])})
    assert not (tmp_path / "bad").exists()


def test_weights_of_minus_128_are_not_loaded(tmp_path: Path, rng: np.random.Generator) -> None:
    whole_model(CONFIGS["plain"], rng, tmp_path)
    header, body = split((tmp_path / "model.safetensors").read_bytes())
    end = header["head.weight"]["data_offsets"][1]
    damaged = join(header, body[: end - 1] + b"\x80" + body[end:])
    with pytest.raises(ValueError, match="'head.weight' holds -128, with precision 'int8'"):
        pq.Encoder(damaged)


def test_other_storage_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    config, _, tensors = whole_model(CONFIGS["plain"], rng, tmp_path)
    with pytest.raises(ValueError, match="dtype must be 'int8'"):
        save_model(tmp_path / "bad", config, tensors, dtype="float32")


@pytest.mark.parametrize("shape", [(32, 4), (64, 132), (96, 1024)])
def test_product_is_exact(shape: tuple[int, int], isa: str, rng: np.random.Generator) -> None:
    weights = rng.integers(-127, 128, shape, dtype=np.int8)
    inputs = rng.integers(0, 256, (19, shape[1]), dtype=np.uint8)
    weights[:2], inputs[:2] = [[127], [-127]], [[0], [255]]  # the largest sums that there are
    out = np.empty((19, shape[0]), np.int32)
    _core.Int8Product(weights)(inputs, out)
    np.testing.assert_array_equal(out, inputs.astype(np.int64) @ weights.T.astype(np.int64))


def test_peak_counts_multiply_adds(isa: str) -> None:
    once = _core.int8_peak(1)
    assert once >= 4
    assert _core.int8_peak(100_000) == 100_000 * once


def test_products_check_their_arguments() -> None:
    weights = np.zeros((32, 8), np.int8)
    with pytest.raises(ValueError, match="weights must have a multiple of 32 rows"):
        _core.Int8Product(weights[:31].copy())
    with pytest.raises(ValueError, match="weights must be -127 to 127, got -128"):
        _core.Int8Product(np.full_like(weights, -128))
    with pytest.raises(ValueError, match=r"inputs has an unfitting shape, got \(3, 9\)"):
        _core.Int8Product(weights)(np.zeros((3, 9), np.uint8), np.zeros((3, 32), np.int32))
    with pytest.raises(ValueError, match=r"out has an unfitting shape, got \(2, 32\)"):
        _core.Int8Product(weights)(np.zeros((3, 8), np.uint8), np.zeros((2, 32), np.int32))
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        _core.int8_peak(0)


_GROWTH = """
import sys
import pqrnn_native as pq
pq.load(sys.argv[1])  # whatever the first model brings along

def memory(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))

before = memory("VmRSS")
model = pq.load(sys.argv[2])
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_takes_at_most_three_times_the_file(tmp_path: Path) -> None:
    paths = []
    for name, width in (("small", 64), ("large", 4096)):
        shape = dataclasses.replace(
            CONFIGS["plain"], projection=pq.ProjectionConfig(feature_size=width),
            bottleneck_size=width, state_size=width // 8,
        )  # fmt: skip
        (tmp_path / name).mkdir()
        whole_model(shape, np.random.default_rng(1), tmp_path / name)
        paths.append(tmp_path / name / "model.safetensors")
    size = paths[1].stat().st_size
    assert size > 20_000_000
    run = subprocess.run(
        [sys.executable, "-c", _GROWTH, *map(str, paths)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert int(run.stdout) <= 3 * size
