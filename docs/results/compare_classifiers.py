"""Compares PQRNNClassifier, with nothing tuned, to TF-IDF with logistic regression and to fastText.

    pip install "pqrnn-native[sklearn,train]" fasttext
    python docs/results/compare_classifiers.py DATA --out table.json

DATA holds a folder for each set, in the layouts that docs/data.md describes. Every method trains on
the same rows and is measured on the same rows, which none of them sees before: the dev split, or a
tenth of the training rows where there is none. Prints a Markdown table. Times are seconds of CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import train_test_split
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import MultiLabelBinarizer
from sklearn.svm import LinearSVC

import pqrnn_native
from pqrnn_native.integrations.sklearn import PQRNNClassifier, PQRNNVectorizer
from pqrnn_native.train import Examples
from pqrnn_native.train.sources import dev_of, examples_of

SETS = ("snips", "clinc150", "banking77", "sst2", "massive", "goemotions")


class Rows(NamedTuple):
    """Texts ``[n]``, and their labels ``[n]`` or an indicator matrix ``[n, labels]``."""

    texts: list[str]
    y: np.ndarray


class Trained(NamedTuple):
    """Labels in the order of the columns of ``proba(texts)``, and the size of the model."""

    classes: np.ndarray
    proba: Callable[[list[str]], np.ndarray]
    nbytes: int


def read(
    data: Path, name: str, limit: int, per_class: int, seed: int, language: str
) -> tuple[Rows, Rows]:
    """Rows to train on and rows to measure on; of ``per_class`` rows a label, which, says seed."""
    spec, languages = f"{name}:{data / name}", [language] if name == "massive" else None
    train = examples_of(spec, "train", "classify", languages)
    if name == "banking77":  # has no dev split
        train, dev = dev_of(train, train, seed=0)
    else:
        dev = examples_of(spec, "dev", "classify", languages)
    binarizer = MultiLabelBinarizer().fit([row.labels for row in train])

    def encode(part: Examples) -> np.ndarray:
        if part.multi_label:
            return binarizer.transform([row.labels for row in part])
        return np.array([row.labels[0] for row in part])

    found = [Rows([row.text for row in part], encode(part)) for part in (train, dev)]
    if limit and limit < len(found[0].texts):
        kept = np.random.default_rng(0).permutation(len(found[0].texts))[:limit]
        found[0] = Rows([found[0].texts[row] for row in kept], found[0].y[kept])
    if per_class:
        rng = np.random.default_rng(seed)
        own = [
            rng.permutation(np.flatnonzero(found[0].y == label)) for label in np.unique(found[0].y)
        ]
        kept = rng.permutation(np.concatenate([rows[:per_class] for rows in own]))
        found[0] = Rows([found[0].texts[row] for row in kept], found[0].y[kept])
    return found[0], found[1]


def pqrnn(rows: Rows, seed: int) -> Trained:
    return own_classifier(rows, seed, "default")


def multilingual(rows: Rows, seed: int) -> Trained:
    return own_classifier(rows, seed, "multilingual")


def from_nothing(rows: Rows, seed: int) -> Trained:
    return own_classifier(rows, seed, None)


def own_classifier(rows: Rows, seed: int, init: str | None) -> Trained:
    model = PQRNNClassifier(init=init, random_state=seed, n_jobs=1).fit(*rows)
    size = len(model.model_.__reduce__()[1][0])  # the bytes of the model file
    return Trained(model.classes_, model.predict_proba, size)


def linear(features: Any, rows: Rows, classifier: Any = None) -> Trained:
    regression = classifier or LogisticRegression(C=10, max_iter=1000)
    if rows.y.ndim == 2:
        regression = OneVsRestClassifier(regression)
    model = make_pipeline(features, regression).fit(*rows)
    scores = model.predict_proba if classifier is None else margins(model)
    return Trained(model.classes_, scores, len(pickle.dumps(model)))


def margins(model: Any) -> Callable[[list[str]], np.ndarray]:
    """Scores of a support vector machine, which has one margin for two labels."""

    def scores(texts: list[str]) -> np.ndarray:
        found = model.decision_function(texts)
        return np.stack((-found, found), 1) if found.ndim == 1 else found

    return scores


def ngrams() -> Any:
    common = {"sublinear_tf": True, "dtype": np.float32}
    return make_union(
        TfidfVectorizer(ngram_range=(1, 2), **common),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **common),
    )


def tfidf(rows: Rows, _seed: int) -> Trained:
    return linear(ngrams(), rows)


def tfidf_svm(rows: Rows, _seed: int) -> Trained:
    return linear(ngrams(), rows, LinearSVC())


def vectors(rows: Rows, _seed: int) -> Trained:
    return linear(PQRNNVectorizer(n_jobs=1), rows)


def multilingual_vectors(rows: Rows, _seed: int) -> Trained:
    return linear(PQRNNVectorizer("multilingual", n_jobs=1), rows)


def fasttext(rows: Rows, seed: int) -> Trained:
    """With the settings of its tutorial on classification, and character n-grams besides."""
    import fasttext

    several = rows.y.ndim == 2
    classes = np.arange(rows.y.shape[1]) if several else np.unique(rows.y)
    number = {label: column for column, label in enumerate(classes.tolist())}

    def line(text: str) -> str:
        return " ".join(re.findall(r"\w+|[^\w\s]", text.lower()))

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "train.txt")
        with open(path, "w", encoding="utf-8") as file:
            for text, y in zip(rows.texts, rows.y, strict=True):
                columns = np.flatnonzero(y) if several else [number[y]]
                names = " ".join(f"__label__{column}" for column in columns)
                file.write(f"{names} {line(text)}\n")
        model = fasttext.train_supervised(
            path, lr=0.5, epoch=25, wordNgrams=2, minn=3, maxn=5, dim=100, bucket=200_000,
            loss="ova" if several else "softmax", thread=1, seed=seed, verbose=0,
        )  # fmt: skip
        model.save_model(path)
        size = os.path.getsize(path)

    def proba(texts: list[str]) -> np.ndarray:
        scores = np.zeros((len(texts), len(classes)))
        # The wrapper's own predict() fails with NumPy 2; this is what it calls.
        for row, text in enumerate(texts):
            for score, name in model.f.predict(line(text) + "\n", -1, 0.0, "strict"):
                scores[row, int(name.removeprefix("__label__"))] = score
        return scores

    return Trained(classes, proba, size)


METHODS: dict[str, Callable[[Rows, int], Trained]] = {
    "pQRNN": pqrnn,
    "pQRNN from nothing": from_nothing,
    "pQRNN, multilingual": multilingual,
    "embedded encoder + logistic regression": vectors,
    "multilingual encoder + logistic regression": multilingual_vectors,
    "TF-IDF + logistic regression": tfidf,
    "TF-IDF + linear SVM": tfidf_svm,
    "fastText": fasttext,
}

ENGLISH = [name for name in METHODS if "multilingual" not in name]


def measure(name: str, method: str, train: Rows, dev: Rows, seed: int) -> dict[str, Any]:
    """One cell of the table: metrics in per cent, seconds of CPU, bytes."""
    several = train.y.ndim == 2
    held_out = Rows([], train.y[:0])
    if several:  # for the threshold from which on a label is given
        parts = train_test_split(train.texts, train.y, test_size=0.1, random_state=0)
        train, held_out = Rows(parts[0], parts[2]), Rows(parts[1], parts[3])
    before = time.process_time()
    trained = METHODS[method](train, seed)
    row = {
        "set": name,
        "method": method,
        "rows": len(train.texts),
        "dev_rows": len(dev.texts),
        "seconds": round(time.process_time() - before, 1),
        "bytes": trained.nbytes,
    }
    scores = trained.proba(dev.texts)
    if not several:
        answers = trained.classes[scores.argmax(axis=1)]
        return row | {"accuracy": round(100 * accuracy_score(dev.y, answers), 2)}
    steps = np.arange(0.05, 0.95, 0.025)
    own = trained.proba(held_out.texts)
    best = max(steps, key=lambda t: f1_score(held_out.y, own >= t, average="micro"))
    f1 = {
        kind: round(100 * f1_score(dev.y, scores >= best, average=kind, zero_division=0.0), 2)
        for kind in ("micro", "macro")
    }
    return row | {"micro_f1": f1["micro"], "macro_f1": f1["macro"], "threshold": round(best, 3)}


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of Markdown: a row for each method, a column for each set."""
    sets = list(dict.fromkeys(row["set"] for row in rows))
    cells = {(row["method"], row["set"]): row for row in rows}

    def lines(title: str, cell: Callable[[dict[str, Any]], str]) -> Iterator[str]:
        yield f"| {title} | " + " | ".join(sets) + " |"
        yield "|---|" + "---|" * len(sets)
        for method in dict.fromkeys(row["method"] for row in rows):
            found = [cells.get((method, name)) for name in sets]
            yield f"| {method} | " + " | ".join("" if r is None else cell(r) for r in found) + " |"
        yield ""

    def score(row: dict[str, Any]) -> str:
        if "accuracy" in row:
            return f"{row['accuracy']:.1f}"
        return f"{row['micro_f1']:.1f} / {row['macro_f1']:.1f}"

    yield from lines("accuracy; goemotions: micro / macro F1", score)
    yield from lines("training, seconds of CPU", lambda row: f"{row['seconds']:.0f}")
    yield from lines("model, MB", lambda row: f"{row['bytes'] / 1e6:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default=",".join(SETS), help="default: %(default)s")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=ENGLISH)
    parser.add_argument("--rows", type=int, default=0, help="train on that many only")
    parser.add_argument("--per-class", type=int, default=0, help="train on that many of each label")
    parser.add_argument("--language", default="en", help="of massive (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file to add the figures to")
    options = parser.parse_args()
    rows = []
    if options.out and options.out.exists():
        rows = json.loads(options.out.read_text("utf-8"))
    done = {(row["set"], row["method"]) for row in rows}
    for name in options.sets.split(","):
        train, dev = read(
            options.data, name, options.rows, options.per_class, options.seed, options.language
        )
        for method in options.methods:
            if (name, method) in done:
                continue
            rows.append(measure(name, method, train, dev, options.seed))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            if options.out:
                options.out.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    print("\n".join(table(rows)))
    versions = [f"{name} {metadata.version(name)}" for name in ("torch", "scikit-learn", "numpy")]
    print(f"pqrnn-native {pqrnn_native.__version__}", *versions, sep=", ", file=sys.stderr)


if __name__ == "__main__":
    main()
