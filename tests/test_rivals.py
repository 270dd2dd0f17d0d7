"""Rivals of the pQRNN: the same loop, heads and budget."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pqrnn_native.train needs torch")
pytest.importorskip("tqdm", reason="the run folder's progress bar needs tqdm")
pytest.importorskip("matplotlib", reason="the run folder's curves need matplotlib")

from invented import commands

import pqrnn_native as pq
from pqrnn_native.train import TrainSettings, default_config, fit, rivals
from pqrnn_native.train.processes import Processes

SETTINGS = TrainSettings(
    epochs=12, batch_size=16, learning_rate=5e-3, evaluate_every=30, threads=1, ema=0.9,
    dropout=0.05, token_dropout=0.02, distortion=0.02,
)  # fmt: skip
TEXTS = ["start the lamp", "", "stop", "open the window in the hall please"]
CPU = torch.device("cpu")
KINDS = [
    (kind, features) for kind in ("lstm", "transformer") for features in ("projection", "word")
]


def learner(kind: Any, features: Any, **options: Any) -> Any:
    config = default_config(
        "parse", intents=("a", "b"), slots=("O", "B-x", "I-x"), projection={"feature_size": 64}
    )
    settings = replace(SETTINGS, bfloat16=False, **options)
    return rivals.rival(kind, features, config, settings, Processes(), CPU, TEXTS * 2)


@pytest.mark.parametrize(("kind", "features"), KINDS)
def test_a_rival_learns(
    kind: Any, features: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rivals, "BUDGET", 40_000)
    result = fit(
        commands(200), commands(40, seed=1), test=commands(40, seed=2), out=tmp_path / "run",
        model=kind, features=features, config={"projection": {"feature_size": 96}},
        settings=SETTINGS, progress=False,
    )  # fmt: skip
    assert 20_000 < result.parameters <= 40_000
    assert result.test is not None
    assert result.test.average["exact_match"].value > 0.9
    assert result.path == tmp_path / "run/best.pt"
    assert not (tmp_path / "run/model.safetensors").exists()
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["parameters"] == result.parameters


@pytest.mark.parametrize(("kind", "features"), KINDS)
def test_a_text_has_the_same_logits_whatever_its_neighbours(kind: Any, features: Any) -> None:
    rival = learner(kind, features)
    with torch.no_grad():
        together = {part[0]: part for part in _logits(rival, TEXTS)}
        for row, text in enumerate(TEXTS):
            _, intents, tags = _logits(rival, [text])[0]
            torch.testing.assert_close(intents, together[row][1], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(tags, together[row][2], rtol=1e-4, atol=1e-5)
            assert tags.shape == (len(pq.Projection(64).spans(text)), 3)


def _logits(rival: Any, texts: list[str]) -> list[tuple[int, Any, Any]]:
    found = []
    for rows, logits, offsets in rival.predict(texts):
        found += [
            (int(row), logits.sentence[at], logits.tags[offsets[at] : offsets[at + 1]])
            for at, row in enumerate(rows)
        ]
    return found


def test_classifiers() -> None:
    config = default_config("classify", labels=("a", "b"), projection={"feature_size": 64})
    for kind, features in KINDS:
        rival = rivals.rival(kind, features, config, SETTINGS, Processes(), CPU, TEXTS)  # type: ignore[arg-type]
        (_, logits, _), *rest = rival.predict(["start", ""])
        assert not rest
        assert logits.tags is None
        assert logits.sentence.shape == (2, 2)


@pytest.mark.parametrize(("kind", "features"), KINDS)
def test_the_default_budget_is_two_million_weights(kind: Any, features: Any) -> None:
    words = 15_000 if features == "word" else None
    config = default_config("parse", intents=[f"i{k}" for k in range(100)], slots=("O", "B-a"))

    def make(width: int) -> torch.nn.Module:
        return rivals.Rival(kind, config, width, words, 0.0)

    width = rivals.widest(make, rivals.BUDGET)
    with torch.device("meta"):
        weights = [sum(p.numel() for p in make(w).parameters()) for w in (width, width + 8)]
    assert 1_700_000 < weights[0] <= 2_000_000 < weights[1]
    with pytest.raises(ValueError, match="budget of 1000 weights has no room"):
        rivals.widest(make, 1000)


def test_the_vocabulary_holds_the_most_frequent_words() -> None:
    config = pq.ProjectionConfig(feature_size=8)
    texts = ["the cat saw The dog", "a dog saw it", "THE end"]
    assert rivals.vocabulary(texts, config) == [b"the", b"dog", b"saw"]  # 3, 2 and 2 times
    inputs = rivals.WordInputs(config, SETTINGS, [b"the", b"dog", b"saw"])
    found = inputs(["the cat", "", "Dog dog"])
    assert found.features[found.index].tolist() == [1, 0, 2, 2]
    assert found.offsets.tolist() == [0, 2, 2, 4]
    hidden = rivals.WordInputs(config, replace(SETTINGS, token_dropout=0.999), [b"the"])
    dropped = hidden.training(["the the the"], 0)
    assert dropped.features[dropped.index].tolist() == [0, 0, 0]


def test_positions_are_sines_of_geometric_wavelengths() -> None:
    table = rivals._positions(torch.arange(3), 4).numpy()
    expected = [[np.sin(t), np.cos(t), np.sin(t / 100), np.cos(t / 100)] for t in range(3)]
    np.testing.assert_allclose(table, expected, rtol=1e-5, atol=1e-6)
