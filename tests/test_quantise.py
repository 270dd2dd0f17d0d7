"""Post-training quantisation and the command ``export``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import twin

import pqrnn_native as pq
from pqrnn_native.checkpoint import load_tensors, read_metadata, save_model
from pqrnn_native.cli import main
from pqrnn_native.quantise import calibrate, quantise
from pqrnn_native.reference import model as reference

TEXTS = ["turn on the lights", "wake me at seven", "what is the weather in Paris", "play jazz"] * 9
SHAPE = pq.PQRNNConfig(
    projection=pq.ProjectionConfig(feature_size=96),
    bottleneck_size=40,
    state_size=24,
    num_layers=2,
    attention_heads=2,
    output_size=32,
)


def activations(
    config: pq.PQRNNConfig, tensors: twin.Tensors, texts: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """What the float64 twin has after the bottleneck [tokens, B] and pools [n, P]."""
    projection = twin.projection(config)
    rows = [projection.ragged([text], dtype=np.float32)[0] for text in texts]
    low = [
        np.maximum(reference.linear(tensors, "bottleneck", row.astype(np.float64)), 0)
        for row in rows
    ]
    return np.concatenate(low), np.stack([reference.pooled(config, tensors, row) for row in rows])


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("quantile", [1.0, 0.99])
def test_ranges_are_those_of_the_activations(
    skip: bool, quantile: float, tmp_path: Path, rng: np.random.Generator
) -> None:
    config = dataclasses.replace(SHAPE, skip=skip)
    path, tensors = twin.random_model(config, rng, tmp_path)
    low, pooled = activations(config, tensors, TEXTS)
    found = calibrate(path, TEXTS, quantile=quantile)
    largest = np.quantile(low, quantile)
    np.testing.assert_allclose(found["bottleneck.range"], [largest], rtol=1e-5)
    states = np.quantile(np.abs(pooled[:, -2 * config.state_size :]), quantile)
    expected = [largest, states] if skip else [states]
    np.testing.assert_allclose(found["pooled.range"], expected, rtol=1e-5)


@pytest.mark.parametrize("skip", [False, True])
def test_long_texts_are_read_from_their_start(
    skip: bool, tmp_path: Path, rng: np.random.Generator
) -> None:
    """512 tokens of a text, and of these the bottleneck of every eighth."""
    config = dataclasses.replace(SHAPE, skip=skip)
    path, tensors = twin.random_model(config, rng, tmp_path)
    text = " ".join(f"w{number}" for number in range(700))
    start = text[: text.index(" w512")]
    low, pooled = activations(config, tensors, [start])
    found = calibrate(path, [text], quantile=1.0)
    np.testing.assert_allclose(found["bottleneck.range"], [low[::8].max()], rtol=1e-5)
    states = np.abs(pooled[:, -2 * config.state_size :]).max()
    np.testing.assert_allclose(found["pooled.range"][-1], states, rtol=1e-4)


@pytest.mark.parametrize("skip", [False, True])
def test_vectors_stay_near(skip: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    config = dataclasses.replace(SHAPE, skip=skip)
    path, _ = twin.random_model(config, rng, tmp_path)
    quantise(path, TEXTS, tmp_path / "whole", info={"note": 1})
    before, after = pq.load(path), pq.load(tmp_path / "whole")
    assert isinstance(before, pq.Encoder)
    assert isinstance(after, pq.Encoder)
    assert after.config == dataclasses.replace(config, precision="int8")
    assert read_metadata(tmp_path / "whole").info == {"made": "for a test", "note": 1}
    cosines = (before.encode(TEXTS) * after.encode(TEXTS)).sum(axis=1)
    assert 0.998 < cosines.min() < 0.999999


def test_a_model_that_is_always_zero_has_grids(tmp_path: Path) -> None:
    tensors = {name: np.zeros(shape) for name, shape in SHAPE.tensor_shapes().items()}
    save_model(tmp_path / "zero", SHAPE, tensors)
    quantise(tmp_path / "zero", TEXTS, tmp_path / "whole")
    model = pq.load(tmp_path / "whole")
    assert isinstance(model, pq.Encoder)
    np.testing.assert_array_equal(model.encode(TEXTS), 0)


def test_bad_arguments(tmp_path: Path, rng: np.random.Generator) -> None:
    path, _ = twin.random_model(SHAPE, rng, tmp_path)
    with pytest.raises(ValueError, match=r"quantile must be in \(0, 1\], got 0"):
        calibrate(path, TEXTS, quantile=0)
    with pytest.raises(ValueError, match="texts must have tokens"):
        calibrate(path, ["", "  "])
    quantise(path, TEXTS, tmp_path / "whole")
    with pytest.raises(ValueError, match="must have precision 'float32', got .*whole.* in 'int8'"):
        quantise(tmp_path / "whole", TEXTS, tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.fixture
def parser(tmp_path: Path, rng: np.random.Generator) -> Path:
    config = dataclasses.replace(
        SHAPE, task="parsing", output_size=256, intents=("A", "B"), slots=("O", "B-x", "I-x")
    )
    return twin.random_model(config, rng, tmp_path)[0]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": t, "intent": "A", "slots": [[0, 4, "x"]]}) for t in TEXTS]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_export_measures_and_notes_what_it_did(
    parser: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    command = ["export", "--model", str(parser), "--calibrate", f"jsonl:{rows}", "--out", str(out)]
    assert main([*command, "--evaluate", f"jsonl:{rows}", "--texts", "10"]) == 0
    printed = capsys.readouterr().out
    info = read_metadata(out).info
    assert info["made"] == "for a test"
    noted = info["export"]
    assert noted["texts"] == 9  # every fourth of 36
    assert noted["command"] == (
        "pqrnn-native export --precision int8 --calibrate jsonl --evaluate jsonl"
    )
    assert main(["evaluate", "--model", str(out), "--data", f"jsonl:{rows}", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    exact = 100 * report["average"]["exact_match"]["value"]
    assert noted["after"]["exact_match"] == pytest.approx(exact, abs=1e-3)
    assert f"{noted['before']['exact_match']:.3f} -> {exact:8.3f}" in printed
    assert main(["info", str(out)]) == 0
    assert "precision       int8" in capsys.readouterr().out
    for bits in ("4", "2"):
        few = tmp_path / f"{bits}.safetensors"
        assert main([*command, "--bottleneck-bits", bits, "--out", str(few)]) == 0
        assert [path.read_bytes().count(b'"dtype":"U8"') for path in (out, few)] == [0, 1]
        assert f" --bottleneck-bits {bits}" in read_metadata(few).info["export"]["command"]


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_export_keeps_floats(parser: Path, precision: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    parser.rename(folder / "model.safetensors")
    out = tmp_path / "out.safetensors"
    assert (
        main(["export", "--model", str(folder), "--precision", precision, "--out", str(out)]) == 0
    )
    before, after = load_tensors(folder / "model.safetensors"), load_tensors(out)
    for name, value in before.items():
        kept = value if name.endswith(".bias") else value.astype(precision)
        np.testing.assert_array_equal(after[name], kept.astype(np.float32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--calibrate must name texts for precision int8, got none"),
        (["--calibrate", "text:nowhere"], "'text:nowhere': no such file or folder"),
        (["--texts", "0"], "--texts must be at least 1, got 0"),
        (["--precision", "int4"], "invalid choice: 'int4'"),
        (
            ["--bottleneck-bits", "4", "--precision", "float32"],
            "needs --precision int8, got float32",
        ),
    ],
)
def test_export_says_what_is_wrong(
    arguments: list[str],
    message: str,
    parser: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.safetensors"
    assert main(["export", "--model", str(parser), "--out", str(out), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
