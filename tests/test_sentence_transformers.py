"""The module for sentence-transformers: the encoder's own vectors, and files that come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import twin

pytest.importorskip("sentence_transformers", "6", reason="needs sentence-transformers 6")

from sentence_transformers import SentenceTransformer

import pqrnn_native as pq
from pqrnn_native.integrations.sentence_transformers import PQRNNModule

# Out of order in length, since the library sorts them.
TEXTS = ["A man plays a guitar on a stage.", "", "Stocks fell.", "Someone plays an instrument."]


def test_vectors_are_those_of_the_encoder() -> None:
    model = SentenceTransformer(modules=[PQRNNModule()], device="cpu")
    np.testing.assert_array_equal(model.encode(TEXTS, batch_size=2), pq.encode(TEXTS))
    np.testing.assert_array_equal(model.encode(TEXTS[0]), pq.encode(TEXTS[0]))
    assert model.get_embedding_dimension() == pq.load("default").dim
    similar = model.similarity(model.encode(TEXTS[:1]), model.encode(TEXTS[2:]))
    assert similar[0, 1] > similar[0, 0]


def test_lengths_and_prompts() -> None:
    model = SentenceTransformer(modules=[PQRNNModule(normalize=False, threads=1)], device="cpu")
    expected = pq.load("default").encode(["find: " + text for text in TEXTS], normalize=False)
    np.testing.assert_array_equal(model.encode(TEXTS, prompt="find: "), expected)


def test_saved_models_come_back(tmp_path: Path) -> None:
    model = SentenceTransformer(modules=[PQRNNModule(normalize=False, threads=2)], device="cpu")
    model.save(str(tmp_path))
    again = SentenceTransformer(str(tmp_path), trust_remote_code=True, device="cpu")
    assert (again[0].normalize, again[0].threads) == (False, 2)
    np.testing.assert_array_equal(again.encode(TEXTS), model.encode(TEXTS))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors"):
        PQRNNModule.load(str(tmp_path))


def test_what_is_no_encoder_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    config = pq.PQRNNConfig(
        task="classification", labels=("a", "b"), projection=pq.ProjectionConfig(feature_size=8),
        bottleneck_size=4, state_size=4, num_layers=1,
    )  # fmt: skip
    pq.checkpoint.save_model(tmp_path / "m", config, twin.random_tensors(config, rng))
    with pytest.raises(TypeError, match="must make sentence vectors, got a Classifier"):
        PQRNNModule(tmp_path / "m")
    with pytest.raises(TypeError, match="text"):
        PQRNNModule()(PQRNNModule().preprocess([("a", "pair")]))
