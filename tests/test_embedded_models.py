"""The embedded models: their size, what they say of themselves, and whether they mean anything."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

import pqrnn_native as pq
from pqrnn_native.checkpoint import read_metadata


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """By the definition: Pearson's correlation of average ranks, counted one by one."""

    def ranks(values: np.ndarray) -> np.ndarray:
        below = (values[None, :] < values[:, None]).sum(1)
        equal = (values[None, :] == values[:, None]).sum(1)
        return below + (equal + 1) / 2

    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def sts_rows(shared: Path, language: str, split: str) -> list[list[str]]:
    path = shared / "data" / "stsb_multi" / language / f"{split}.csv.gz"
    if not path.is_file():
        pytest.skip(f"no STS-B at {path}")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize(
    ("name", "most", "teacher"),
    [
        ("default", 2_000_000, "all-MiniLM-L6-v2"),
        ("multilingual", 4_000_000, "use-m3 + e5-small"),
    ],
)
def test_size_and_provenance(name: str, most: int, teacher: str) -> None:
    metadata = read_metadata(name)
    assert metadata.file_bytes <= most
    assert metadata.config.precision == "int8"
    assert metadata.info["run"]["teacher"].startswith(teacher)
    assert metadata.info["run"]["settings"]["seed"] == 0
    assert len(metadata.info["run"]["texts_blake2b"]) == 32


def test_like_meanings_are_near() -> None:
    pairs = [
        ("A man is playing a guitar.", "Someone plays an instrument."),
        ("The stock market fell today.", "Shares dropped sharply."),
        ("How is the weather in Paris?", "Will it rain in Paris tomorrow?"),
        ("Turn off the kitchen lights.", "Switch the lamp in the kitchen off."),
    ]
    first = pq.encode([a for a, _ in pairs])
    second = pq.encode([b for _, b in pairs])
    assert (first @ second.T).argmax(1).tolist() == [0, 1, 2, 3]


def test_like_meanings_are_near_across_languages() -> None:
    translations = {
        "de": ["Eine Frau spielt Gitarre.", "Wie wird das Wetter morgen?", "Mach das Licht aus."],
        "es": ["Una mujer toca la guitarra.", "¿Qué tiempo hará mañana?", "Apaga la luz."],
        "fr": ["Une femme joue de la guitare.", "Quel temps fera-t-il demain ?",
               "Éteins la lumière."],
        "ru": ["Женщина играет на гитаре.", "Какая завтра будет погода?", "Выключи свет."],
    }  # fmt: skip
    model = pq.load("multilingual")
    assert isinstance(model, pq.Encoder)
    english = model.encode(
        ["A woman is playing the guitar.", "What will the weather be tomorrow?",
         "Turn off the light."]
    )  # fmt: skip
    for language, texts in translations.items():
        nearest = (model.encode(texts) @ english.T).argmax(1).tolist()
        assert nearest == [0, 1, 2], language


@pytest.mark.parametrize(("split", "least"), [("dev", 81.0), ("test", 75.5)])
def test_sts_benchmark(shared: Path, split: str, least: float) -> None:
    """Spearman x 100, half a point below what the model card says: 81.6 and 76.1."""
    rows = sts_rows(shared, "en", split)
    first = pq.encode([row[0] for row in rows])
    second = pq.encode([row[1] for row in rows])
    gold = np.array([float(row[2]) for row in rows])
    assert 100 * spearman((first * second).sum(1), gold) >= least
