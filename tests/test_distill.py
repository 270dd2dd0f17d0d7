"""The distillation loop: it learns, it resumes exactly, it refuses what it cannot do."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pqrnn_native.train needs torch")
pytest.importorskip("tqdm", reason="the run folder's progress bar needs tqdm")
pytest.importorskip("matplotlib", reason="the run folder's curves need matplotlib")

import pqrnn_native as pq
from pqrnn_native.train import distill as loop
from pqrnn_native.train.batches import batches
from pqrnn_native.train.cache import TeacherCache
from pqrnn_native.train.data import SentencePairs
from pqrnn_native.train.distill import (
    DistillSettings,
    batching_lengths,
    distill,
    fit_pca,
    joined_targets,
)
from pqrnn_native.train.teachers import CallableTeacher

WORDS = "red green blue cat dog bird runs sleeps sings now here there".split()
CONFIG = pq.PQRNNConfig(
    projection=pq.ProjectionConfig(feature_size=128),
    bottleneck_size=16,
    state_size=8,
    num_layers=1,
    zoneout=0.2,
    output_size=6,
    skip=True,
)
SETTINGS = DistillSettings(
    epochs=4, batch_size=32, warmup_steps=2, ranking=0.5, evaluate_every=16, threads=1
)


def bag_of_words(texts: Sequence[str]) -> np.ndarray:
    """A teacher that any word model can learn: the sum of one random vector per word."""
    rows = [
        sum(np.random.default_rng(zlib.crc32(w.encode())).normal(size=8) for w in text.split())
        for text in texts
    ]
    return np.asarray(rows, np.float32) / np.linalg.norm(rows, axis=1, keepdims=True)


TEACHER = CallableTeacher(bag_of_words, name="bag", dim=8)


def sentences(count: int = 256) -> list[str]:
    rng = np.random.default_rng(3)
    return [" ".join(rng.choice(WORDS, rng.integers(2, 7))) for _ in range(count)]


def pairs() -> SentencePairs:
    texts = list(dict.fromkeys(sentences()))[:60]
    first, second = texts[:30], texts[30:]
    gold = (bag_of_words(first) * bag_of_words(second)).sum(1)
    return SentencePairs(first, second, gold.astype(np.float64))


def tensors(path: Path) -> dict[str, np.ndarray]:
    return dict(pq.checkpoint.load_tensors(path))


def test_single_words_are_spread_over_the_lengths_of_other_texts() -> None:
    texts = ["one two", "one two three", "x", "extraordinary"] * 60
    lengths = batching_lengths(pq.ProjectionConfig(), texts)
    characters = np.array([len(text) for text in texts])
    single = np.arange(len(texts)) % 4 >= 2
    np.testing.assert_array_equal(lengths[~single], characters[~single])
    shares = [(lengths[single] == size).mean() for size in (7, 13)]
    assert sum(shares) == 1
    assert min(shares) > 0.3  # of 120 fair draws, one in a hundred thousand
    alone = batching_lengths(pq.ProjectionConfig(), ["a", "bb", ""])
    np.testing.assert_array_equal(alone[:2], [0, 0])  # the empty text is the only other one
    np.testing.assert_array_equal(batching_lengths(pq.ProjectionConfig(), ["a", "bb"]), [1, 2])


def test_the_student_learns_and_the_file_agrees_with_the_graph(tmp_path: Path) -> None:
    path = distill(
        CONFIG, TEACHER, sentences(), tmp_path / "run", cache=tmp_path / "cache",
        settings=SETTINGS, evaluation=pairs(), dtype="float32", progress=False,
    )  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [16, 32]
    assert rows[-1]["cosine"] < rows[0]["cosine"]
    assert rows[-1]["spearman"] > 50
    encoder = pq.load(path)
    vectors = encoder.encode([*pairs().first, *pairs().second], normalize=False)
    score = loop.evaluate_pairs(lambda _texts: vectors, pairs())
    best = max(row["spearman"] for row in rows)
    # The graph evaluates under bfloat16 autocast, the engine in float32.
    assert score == pytest.approx(best, abs=2.0)
    assert (tmp_path / "run/curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_student_of_2_bits_is_stored_without_loss(tmp_path: Path) -> None:
    def run(name: str, dtype: Any) -> dict[str, np.ndarray]:
        path = distill(
            CONFIG, TEACHER, sentences(), tmp_path / name, cache=tmp_path / "cache",
            settings=replace(SETTINGS, bottleneck_bits=2), dtype=dtype, progress=False,
        )  # fmt: skip
        return tensors(path)

    floats, packed = (run(dtype, dtype)["bottleneck.weight"] for dtype in ("float32", "int2"))
    for row in floats:
        levels = np.unique(np.abs(row).round(6))
        np.testing.assert_allclose(levels, [levels[0], 3 * levels[0]], rtol=1e-4)
    np.testing.assert_allclose(packed, floats, rtol=1e-5)


def test_only_floats_are_trained_with_2_bits(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bottleneck_bits must be 2 or None, got 3"):
        replace(SETTINGS, bottleneck_bits=3)
    with pytest.raises(ValueError, match="precision must be 'float32' for bottleneck_bits=2"):
        distill(
            replace(CONFIG, precision="int8"), TEACHER, sentences(), tmp_path / "run",
            cache=tmp_path / "cache", settings=replace(SETTINGS, bottleneck_bits=2),
            dtype="int8", progress=False,
        )  # fmt: skip


def test_a_model_of_8_bits_is_not_stored_in_4(tmp_path: Path) -> None:
    config = replace(CONFIG, precision="int8")
    with pytest.raises(ValueError, match="dtype must not be 'int4' where .* 'int8'"):
        distill(
            config, TEACHER, sentences(), tmp_path / "run", cache=tmp_path / "cache",
            dtype="int4", progress=False,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_a_run_starts_from_a_model_file(tmp_path: Path) -> None:
    def run(
        name: str, config: pq.PQRNNConfig = CONFIG, teacher: CallableTeacher = TEACHER, **more: Any
    ) -> Path:
        return distill(
            config, teacher, sentences(), tmp_path / name, cache=tmp_path / "cache",
            dtype="float32", progress=False, **more,
        )  # fmt: skip

    first = run("first", settings=SETTINGS)
    still = replace(SETTINGS, epochs=0.2, learning_rate=1e-9)
    then = run("then", init=first, settings=still)
    texts = sentences(40)
    before, after = (pq.load(path).encode(texts) for path in (first, then))
    # One step that moves nothing but batch norm's running moments, by a tenth of the way; the space
    # may be turned.
    assert np.abs(before @ before.T - after @ after.T).max() < 0.1
    other = CallableTeacher(lambda texts: -bag_of_words(texts)[:, ::-1], name="mirrored", dim=8)
    run("turned", init=first, settings=still, teacher=other)
    first_loss, turned_loss = (
        json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[-1])["cosine"]
        for name in ("then", "turned")
    )
    assert turned_loss == pytest.approx(first_loss, abs=0.02)
    with pytest.raises(ValueError, match="init must have the shape of config: bottleneck"):
        run("wider", replace(CONFIG, bottleneck_size=24), init=first, settings=still)
    cased = replace(CONFIG, projection=replace(CONFIG.projection, lower=False))
    with pytest.raises(ValueError, match="init must have the projection of config"):
        run("cased", cased, init=first, settings=still)


def test_a_cut_run_resumes_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str) -> Path:
        return distill(
            CONFIG, TEACHER, sentences(), tmp_path / name, cache=tmp_path / "cache",
            settings=SETTINGS, dtype="float32", progress=False,
        )  # fmt: skip

    whole = tensors(run("whole"))

    step = loop._train_step

    def cut(student, texts, targets, at, steps):  # type: ignore[no-untyped-def]
        if at == 21:  # after the checkpoint of step 16, before the next one
            raise KeyboardInterrupt
        return step(student, texts, targets, at, steps)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_train_step", cut)
        with pytest.raises(KeyboardInterrupt):
            run("cut")
    assert not (tmp_path / "cut/model.safetensors").exists()
    resumed = tensors(run("cut"))
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(value, resumed[name], err_msg=name)


def stored(root: Path, name: str, vectors: dict[str, list[float]]) -> TeacherCache:
    width = len(next(iter(vectors.values())))
    teacher = CallableTeacher(
        lambda texts: np.array([vectors[text] for text in texts]), name=name, dim=width
    )
    cache = TeacherCache(root, teacher)
    cache.add(list(vectors))
    return cache


def test_targets_of_one_teacher_keep_its_cosines(tmp_path: Path) -> None:
    cache = stored(tmp_path, "one", {"a": [1, 0, 0], "b": [0.6, 0.8, 0]})
    targets = joined_targets([cache], ["b", "a"], 2).astype(np.float64)
    np.testing.assert_allclose(targets @ targets.T, [[1, 0.6], [0.6, 1]], atol=2e-3)


def test_targets_of_two_teachers_add_their_cosines(tmp_path: Path) -> None:
    """Each has length 1: a and b have the products 0.6 and 0, and each with itself 1 and 1."""
    first = stored(tmp_path, "first", {"a": [2, 0], "b": [3, 4]})
    second = stored(tmp_path, "second", {"a": [0, 1, 0], "b": [0, 0, 5]})
    targets = joined_targets([first, second], ["a", "b"], 4).astype(np.float64)
    np.testing.assert_allclose(targets @ targets.T, [[2, 0.6], [0.6, 2]], atol=4e-3)


def test_centred_targets(tmp_path: Path) -> None:
    """Less their mean (2, 0) the vectors point opposite ways."""
    cache = stored(tmp_path, "one", {"a": [2, 1], "b": [2, -1]})
    targets = joined_targets([cache], ["a", "b"], 2, center=True).astype(np.float64)
    np.testing.assert_allclose(targets @ targets.T, [[1, -1], [-1, 1]], atol=2e-3)


def test_targets_of_translations_lean_towards_each_other(tmp_path: Path) -> None:
    """a and b are at right angles; each target is half its own and half their middle."""
    cache = stored(tmp_path, "one", {"a": [1, 0, 0], "b": [0, 1, 0], "c": [0, 0, 1]})
    groups = np.array([7, 7, -1])
    targets = joined_targets([cache], ["a", "b", "c"], 3, translations=groups).astype(np.float64)
    half = 0.5**0.5 / 2  # of the middle, in each of both directions
    a, b = np.array([0.5 + half, half]), np.array([half, 0.5 + half])
    expected = np.array([[a @ a, a @ b, 0], [a @ b, b @ b, 0], [0, 0, 1]])
    np.testing.assert_allclose(targets @ targets.T, expected, atol=3e-3)


def test_translations_are_further_texts(tmp_path: Path) -> None:
    groups = [["red cat", "cat red"], ["green dog", "dog green", "red cat"]]
    distill(
        CONFIG, [TEACHER], sentences(), tmp_path / "run", cache=tmp_path / "cache",
        translations=groups, settings=replace(SETTINGS, epochs=1), progress=False,
    )  # fmt: skip
    found = json.loads((tmp_path / "run/config.json").read_text())
    assert found["texts"] == len({*sentences(), "red cat", "cat red", "green dog", "dog green"})
    assert found["translations"] == 4
    assert found["teacher"] == "bag"


def test_refusals(tmp_path: Path) -> None:
    def run(config: pq.PQRNNConfig = CONFIG, texts: list[str] | None = None) -> None:
        distill(
            config, TEACHER, sentences() if texts is None else texts, tmp_path / "run",
            cache=tmp_path / "cache", settings=SETTINGS, progress=False,
        )  # fmt: skip

    with pytest.raises(ValueError, match="5 texts do not fill a batch of 32"):
        run(texts=sentences(5))
    with pytest.raises(ValueError, match="config.task must be 'embedding'"):
        run(pq.PQRNNConfig(task="classification", labels=("a", "b")))
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text('{"teacher": "other"}')
    with pytest.raises(ValueError, match="made with another .*teacher"):
        run()
    for name, value in (("epochs", 0), ("learning_rate", float("nan")), ("ema", 1.0)):
        with pytest.raises(ValueError, match=name):
            DistillSettings(**{name: value})


def test_batches_are_a_function_of_seed_and_epoch() -> None:
    lengths = np.arange(100) % 7
    first = batches(lengths, 8, seed=1, epoch=0)
    again = batches(lengths, 8, seed=1, epoch=0)
    other = batches(lengths, 8, seed=1, epoch=1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    rows = np.concatenate(first)
    assert len(rows) == 96
    assert len(set(rows.tolist())) == 96


def test_pca_keeps_cosines_of_a_low_rank_teacher() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 8))
    small = vectors @ fit_pca(vectors, 3)
    np.testing.assert_allclose(small @ small.T, vectors @ vectors.T, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"1\.\.8, got 9"):
        fit_pca(vectors, 9)
