"""A classifier of English vectors, asked in other languages: intents of MASSIVE's dev rows.

    python transfer.py $PQRNN_SHARED/data
    python transfer.py $PQRNN_SHARED/data --onnx embedding_model_quantized.onnx

``accuracy``: of logistic regression on the vectors of the English training rows, in per cent.
``found``: how often the nearest English dev row is the translation, in per cent.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from texts import MASSIVE, without_spaces

import pqrnn_native as pq
from pqrnn_native.train.sources import examples_of
from pqrnn_native.train.teachers import OnnxTeacher, unit_rows


def main() -> None:
    """Print both figures of each language."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the shared data")
    parser.add_argument("--model", default="multilingual", help="model file or name")
    parser.add_argument("--onnx", type=Path, metavar="FILE", help="a teacher instead of a model")
    options = parser.parse_args()
    encode = OnnxTeacher(options.onnx) if options.onnx else pq.load(options.model).encode

    def rows(split: str, language: str) -> tuple[np.ndarray, np.ndarray]:
        found = examples_of(f"massive:{options.data / 'massive'}", split, "classify", [language])
        vectors = unit_rows(encode([without_spaces(row.text) for row in found]))
        return vectors, np.array([row.labels[0] for row in found])

    regression = LogisticRegression(C=10, max_iter=1000).fit(*rows("train", "en"))
    english, _ = rows("dev", "en")
    for language in MASSIVE:
        vectors, labels = rows("dev", language)
        accuracy = np.mean(regression.predict(vectors) == labels)
        found = np.mean((vectors @ english.T).argmax(1) == np.arange(len(english)))
        print(f"{language}  accuracy {100 * accuracy:.1f}  found {100 * found:.1f}")


if __name__ == "__main__":
    main()
