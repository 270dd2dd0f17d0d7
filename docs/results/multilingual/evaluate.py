"""Similarity and retrieval in and across the languages of the translated STS-B dev rows.

    python evaluate.py $PQRNN_SHARED/data --every 3 --model run/model.safetensors
    python evaluate.py $PQRNN_SHARED/data --every 3 --bridge targets/bridge.pt --onnx FILE
    python evaluate.py $PQRNN_SHARED/data --every 3 --lexical picked/sentences.txt

``mono``: both sentences in the language. ``cross``: the first in English. ``found``: how often a
second sentence's nearest neighbour among all English ones is its own original, in per cent.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

import pqrnn_native as pq
from pqrnn_native.checkpoint import read_metadata
from pqrnn_native.train.data import open_text
from pqrnn_native.train.teachers import unit_rows

LANGUAGES = ("en", "de", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru", "zh")
NARROW = ("en", "de", "es", "fr", "pt", "ru", "zh", "ja")  # those of the published comparison
Encode = Callable[[list[str]], np.ndarray]


def rows_of(data: Path, language: str, every: int) -> list[list[str]]:
    """Sentence, sentence and score of each dev row."""
    with open_text(data / "stsb_multi" / language / "dev.csv.gz") as file:
        return list(csv.reader(file))[::every]


def measure(encode: Encode, data: Path, every: int = 1) -> dict[str, dict[str, float]]:
    """Spearman x 100 and per cent for each language, and the means of two sets of languages."""
    out: dict[str, dict[str, float]] = {}
    english: np.ndarray | None = None
    for language in LANGUAGES:
        rows = rows_of(data, language, every)
        first, second = (unit_rows(encode([row[side] for row in rows])) for side in (0, 1))
        gold = [float(row[2]) for row in rows]
        found = {"mono": 100 * spearmanr((first * second).sum(1), gold).statistic}
        if english is None:
            english, originals = first, second
            texts = np.unique([row[1] for row in rows], return_inverse=True)[1]
        else:
            found["cross"] = 100 * spearmanr((english * second).sum(1), gold).statistic
            nearest = (second @ originals.T).argmax(1)
            found["found"] = 100 * float((texts[nearest] == texts).mean())
        out[language] = {name: round(float(value), 2) for name, value in found.items()}
    for title, chosen in (("mean of 8", NARROW), ("mean of 11", LANGUAGES)):
        out[title] = {
            name: round(float(np.mean([out[c][name] for c in chosen if name in out[c]])), 2)
            for name in ("mono", "cross", "found")
        }
    return out


def lexical(path: Path) -> Encode:
    """TF-IDF of character n-grams, which knows nothing but letters, in 4,096 random directions."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.random_projection import SparseRandomProjection
    from texts import read

    texts = read(path)[::4]
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)).fit(texts)
    project = SparseRandomProjection(4096, random_state=0).fit(grams.transform(texts[:10]))
    return lambda asked: project.transform(grams.transform(asked)).toarray()


def remembered(encode: Encode) -> Encode:
    """The same, asked once for each list of texts."""
    known: dict[tuple[str, ...], np.ndarray] = {}

    def answer(texts: list[str]) -> np.ndarray:
        key = tuple(texts)
        if key not in known:
            known[key] = encode(texts)
        return known[key]

    return answer


def teachers(options: argparse.Namespace) -> dict[str, Encode]:
    """Universal Sentence Encoder, and what join.py guesses MiniLM to say from its vectors."""
    import torch
    from join import Bridge

    from pqrnn_native.train.teachers import OnnxTeacher

    use = remembered(OnnxTeacher(options.onnx))
    state = torch.load(options.bridge)
    target, width = state["linear.weight"].shape
    bridge = Bridge(width, target)
    bridge.load_state_dict(state)
    return {"use-m3": use, "bridge to MiniLM": lambda texts: bridge.map(use(texts))}


def main() -> None:
    """Print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", help="model file or name")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every Nth row")
    parser.add_argument("--bridge", type=Path, metavar="FILE", help="what join.py wrote")
    parser.add_argument("--onnx", type=Path)
    parser.add_argument("--lexical", type=Path, metavar="TEXTS", help="what TF-IDF is fitted on")
    parser.add_argument("--out", type=Path, help="JSON file that gets the figures")
    options = parser.parse_args()
    encoders: dict[str, Encode] = {}
    if options.model:
        model = pq.load(options.model)
        assert isinstance(model, pq.Encoder)
        size = read_metadata(options.model).file_bytes
        encoders[f"{size:,} bytes"] = lambda texts: model.encode(texts)
    if options.bridge:
        encoders |= teachers(options)
    if options.lexical:
        encoders["character n-grams"] = lexical(options.lexical)
    table = {n: measure(encode, options.data, options.every) for n, encode in encoders.items()}
    for name, figures in table.items():
        print(f"\n{name}, every {options.every}")
        for language, values in figures.items():
            print(f"{language:12}", *(f"{what} {value:5.1f}" for what, value in values.items()))
    if options.out:
        options.out.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
