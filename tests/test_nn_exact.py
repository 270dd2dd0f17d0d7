"""The 8-bit graph in evaluation has the bits of the NumPy twin, and so of the engine."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import twin

torch = pytest.importorskip("torch")

from test_encode import CONFIGS, TEXTS
from test_int8_engine import whole_model
from test_parse import CONFIGS as PARSERS

import pqrnn_native as pq
from pqrnn_native.nn import exact
from pqrnn_native.reference import quantised


def rows_of(config: pq.PQRNNConfig, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    features, offsets = twin.projection(config).ragged(texts, dtype=np.float32)
    return torch.from_numpy(features), torch.from_numpy(offsets)


@pytest.mark.parametrize("name", [*CONFIGS, *PARSERS])
def test_graph_equals_the_twin(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    shape = CONFIGS[name] if name in CONFIGS else PARSERS[name]
    config, _, tensors = whole_model(shape, rng, tmp_path)
    features, offsets = rows_of(config, TEXTS)
    found, slots = exact.forward(config, tensors, features, offsets, None)
    pieces = np.split(features.numpy(), offsets[1:-1].numpy())
    expected = np.stack([quantised.outputs(config, tensors, piece) for piece in pieces])
    np.testing.assert_array_equal(found.numpy(), expected)
    if config.task == "parsing":
        assert slots is not None
        each = [quantised.slots(config, tensors, piece) for piece in pieces]
        np.testing.assert_array_equal(slots.numpy(), np.concatenate(each))


def test_index_names_the_rows_of_tokens(tmp_path: Path, rng: np.random.Generator) -> None:
    config, _, tensors = whole_model(PARSERS["skip-heads"], rng, tmp_path)
    features, offsets = rows_of(config, TEXTS[:1] * 2)
    once, index = features.unique(dim=0, return_inverse=True)
    whole = exact.forward(config, tensors, features, offsets, None)
    short = exact.forward(config, tensors, once, offsets, index)
    assert torch.equal(whole[0], short[0])
    assert whole[1] is not None
    assert short[1] is not None
    assert torch.equal(whole[1], short[1])


def test_ten_thousand_real_sentences(shared: Path) -> None:
    """Engine and graph, the default model: sentence vectors, the same bits."""
    path = shared / "data" / "unlabelled" / "wikisplit.en.txt.gz"
    if not path.is_file():
        pytest.skip(f"no sentences at {path}")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        texts = [line.strip() for line, _ in zip(lines, range(10_000), strict=False)]
    model = pq.load("default")
    assert isinstance(model, pq.Encoder)
    tensors = whole_tensors("default")
    for start in range(0, len(texts), 500):
        part = texts[start : start + 500]
        features, offsets = rows_of(model.config, part)
        graph = exact.forward(model.config, tensors, features, offsets, None)[0].numpy()
        np.testing.assert_array_equal(graph, model.encode(part, normalize=False))


def whole_tensors(path: str) -> dict[str, np.ndarray]:
    """The tensors of an 8-bit file as they are stored, those of few bits one number by one."""
    numpy_files = pytest.importorskip("safetensors.numpy")
    from pqrnn_native.checkpoint import read_metadata, read_model

    loaded: dict[str, np.ndarray] = numpy_files.load(read_model(path))
    features = read_metadata(path).config.projection.feature_size
    for name, value in loaded.items():
        if value.dtype == np.uint8 and value.shape[1] == features // 4:
            quarters = np.stack([value // 4**place % 4 for place in range(4)], axis=-1)
            levels = np.array([-3, -1, 1, 3], np.int8)
            loaded[name] = levels[quarters].reshape(len(value), -1)
        elif value.dtype == np.uint8:
            halves = np.stack([value % 16, value // 16], axis=-1).reshape(len(value), -1)
            loaded[name] = np.where(halves < 8, halves, halves.astype(int) - 16).astype(np.int8)
    return loaded
