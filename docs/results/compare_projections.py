"""Compares what a parser may read of a word: its hash, its n-grams, or MinHash of its trigrams.

    pip install "pqrnn-native[train]"
    python docs/results/compare_projections.py mtop:DIR --out runs/ [--run ngrams=RUN]

Trains English parsers that differ in nothing else, and evaluates them on the dev split as it is and
with typos. The test split is not read. ``--run NAME=FOLDER`` takes the run folder of a parser that
is trained already; a run in ``--out`` that was cut goes on. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import pqrnn_native
from pqrnn_native.config import PQRNNConfig, ProjectionConfig
from pqrnn_native.tags import Span
from pqrnn_native.train import Example, Examples, TrainSettings, fit, read_examples, supervised
from pqrnn_native.train.fitting import data_config
from pqrnn_native.train.graph import Answers
from pqrnn_native.train.inputs import Inputs, WordwiseInputs
from pqrnn_native.train.learner import Learner, projected
from pqrnn_native.train.metrics import Score, bootstrap, exact_match
from pqrnn_native.train.processes import Processes
from pqrnn_native.train.reports import report
from pqrnn_native.train.rows import RowSource, token_spans
from pqrnn_native.train.run_folder import RunFolder
from pqrnn_native.train.sources import digest_of

SETTINGS = TrainSettings(
    epochs=12, batch_size=64, learning_rate=2e-3, ema=0.995, threads=1, bfloat16=False
)
SHARES = (0.0, 0.1, 0.3)  # of the words of four letters and more that get a typo
METRICS = ("exact_match", "slot_f1", "intent_accuracy")


class Variant(NamedTuple):
    """One row of the tables."""

    title: str
    config: Mapping[str, Any] = {}  # what differs from the default shape
    settings: Mapping[str, Any] = {}  # what differs from SETTINGS
    minhash: bool = False


VARIANTS = {
    "whole": Variant("whole tokens", {"projection": {"ngram_size": 0}}),
    "ngrams": Variant("half n-grams"),
    "minhash": Variant("trigram MinHash", minhash=True),
    "distorted": Variant("half n-grams, trained with distortion 0.1", {}, {"distortion": 0.1}),
    "whole-distorted": Variant(
        "whole tokens, trained with distortion 0.1",
        {"projection": {"ngram_size": 0}},
        {"distortion": 0.1},
    ),
}
BASE = "ngrams"  # what the others are compared with


def misspell(
    rows: Sequence[Example], config: ProjectionConfig, share: float, seed: int
) -> Examples:
    """The texts with one edit in that share of their words of four letters and more.

    A letter is deleted, exchanged with the next one, replaced by one of a to z, or one is put after
    it. The first letter of a word stays, so that a text keeps its tokens, and slots the theirs.
    """
    spans = token_spans([row.text for row in rows], config)
    changed = []
    for number, (row, own) in enumerate(zip(rows, spans, strict=True)):
        rng = np.random.default_rng([seed, number])
        chosen = rng.random(len(own)) < share  # by a larger share, these and others
        hit = [own[k] for k in np.flatnonzero(chosen) if is_word(row.text[slice(*own[k])])]
        pieces = list(row.text)  # what has become of each character
        for start, end in hit:
            pieces[start:end] = edit(row.text[start:end], rng)
        at = [0, *accumulate(map(len, pieces))]
        slots = tuple((at[start], at[end], label) for start, end, label in row.slots)
        changed.append(dataclasses.replace(row, text="".join(pieces), slots=slots, tokens=()))
        check(row, changed[-1], hit)
    after = token_spans([row.text for row in changed], config)
    assert [len(own) for own in after] == [len(own) for own in spans]
    return Examples("parse", changed)


def is_word(token: str) -> bool:
    return len(token) >= 4 and token.isalpha()


def edit(word: str, rng: np.random.Generator) -> list[str]:
    """What becomes of each letter of a word; together they differ from it, capitals apart."""
    while True:
        pieces = list(word)
        at = int(rng.integers(1, len(word)))
        letter = chr(ord("a") + int(rng.integers(26)))
        kind = int(rng.integers(4))
        if kind == 0:
            pieces[at] = ""
        elif kind == 1 and at + 1 < len(word):
            pieces[at : at + 2] = word[at + 1], word[at]
        elif kind == 2:
            pieces[at] = letter
        elif kind == 3:
            pieces[at] += letter
        if "".join(pieces).lower() != word.lower():
            return pieces


def check(old: Example, new: Example, hit: Sequence[Span]) -> None:
    """Slots are in order within the new text, and as they were where none of their words is hit."""
    end = 0
    for before, after in zip(old.slots, new.slots, strict=True):
        assert end <= after[0] < after[1] <= len(new.text)
        end = after[1]
        same = new.text[after[0] : after[1]] == old.text[before[0] : before[1]]
        assert same or any(a < before[1] and b > before[0] for a, b in hit)


class MinHashInputs(WordwiseInputs):
    """The projection of pNLP-Mixer on our tokens: a counting Bloom filter of 64 min-hashes.

    For each of 64 hash functions the least value over the trigrams of a word, modulo F, is counted;
    a shorter word is its own only trigram. Counts are scaled so that the variance of a feature is
    one half, that of a ternary feature.
    """

    HASHES = 64

    def __init__(self, config: ProjectionConfig, settings: TrainSettings) -> None:
        super().__init__(config, settings)
        self._size = config.feature_size
        self._scale = math.sqrt(self._size / (2 * self.HASHES))
        self._salts = np.random.default_rng(0).integers(2**64, size=self.HASHES, dtype=np.uint64)
        self._counters: dict[bytes, np.ndarray] = {}

    def _inputs(self, texts: Sequence[Sequence[bytes]]) -> Inputs:
        number: dict[bytes, int] = {}
        index = [number.setdefault(word, len(number)) for words in texts for word in words]
        features = np.zeros((len(number), self._size), dtype=np.float32)
        for row, word in zip(features, number, strict=True):
            if word not in self._counters:
                self._counters[word] = self._hash(word)
            np.add.at(row, self._counters[word], self._scale)
        offsets = [0, *accumulate(map(len, texts))]
        return Inputs(torch.from_numpy(features), torch.tensor(index), torch.tensor(offsets))

    def _hash(self, word: bytes) -> np.ndarray:
        """The 64 counters of a word."""
        codes = [ord(char) for char in word.decode("utf-8", "replace")]
        trigrams = [codes[at : at + 3] for at in range(max(1, len(codes) - 2))]
        packed = [sum(code << 21 * at for at, code in enumerate(some)) for some in trigrams]
        x = np.array(packed, dtype=np.uint64)[:, None] ^ self._salts
        # The finaliser of splitmix64; NumPy's unsigned arithmetic is modulo 2^64.
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        return x.min(axis=0) % np.uint64(self._size)


def make_learner(config: PQRNNConfig, settings: TrainSettings, minhash: bool) -> Learner:
    torch.manual_seed(settings.seed)
    learner = projected(config, settings, Processes(), torch.device("cpu"))
    if minhash:
        learner.featurizer = MinHashInputs(config.projection, settings)
    return learner


def train_minhash(train: Examples, dev: Examples, out: Path, settings: TrainSettings) -> None:
    """What :func:`pqrnn_native.train.fit` does, with other features; it saves ``best.pt`` alone."""
    config = data_config(train, {})
    torch.set_num_threads(settings.threads)
    settings = settings.resolve(len(train))
    learner = make_learner(config, settings, minhash=True)
    description = {
        "features": "minhash",
        "config": json.loads(config.to_json()),
        "settings": dataclasses.asdict(settings),
        "train": {"rows": len(train), "blake2b": digest_of(train)},
    }
    run = RunFolder(out, description)
    answers = Answers(dev.rows, config)

    def evaluate() -> tuple[float, dict[str, float]]:
        scores = report(dev, answers(learner), resamples=0).overall.scores
        figures = {name: round(100 * score.value, 3) for name, score in scores.items()}
        return figures["exact_match"], figures

    def keep(figures: Mapping[str, Any]) -> None:
        average = learner.averaged.average.state_dict()
        run.save_state("best.pt", {"average": average, "row": dict(figures)})

    supervised.train(
        learner,
        RowSource(train.rows, config, settings.max_tokens),
        run,
        evaluate,
        keep,
        processes=Processes(),
        progress=None,
        say=say,
    )


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def load(folder: Path, variant: Variant, train: Examples, settings: TrainSettings) -> Learner:
    """The best model of a run folder.

    Raises:
        ValueError: it was trained on other data, with other settings or another projection.
    """
    facts = json.loads((folder / "config.json").read_text("utf-8"))
    config = PQRNNConfig.from_json(json.dumps(facts["config"]))
    # A setting that came later is missing, and had no effect.
    same_settings = facts["settings"].items() <= dataclasses.asdict(settings).items()
    if not (
        same_settings
        and config == data_config(train, variant.config)
        and facts["train"]["blake2b"] == digest_of(train)
        and (facts["features"] == "minhash") == variant.minhash
    ):
        raise ValueError(f"run folder {str(folder)!r} is not one of {variant.title!r}")
    learner = make_learner(config, settings, variant.minhash)
    state = torch.load(folder / "best.pt", map_location="cpu", weights_only=True)
    learner.averaged.average.load_state_dict(state["average"])
    return learner


class Cell(NamedTuple):
    """How good one parser is on one set of texts."""

    scores: Mapping[str, Score]
    exact: np.ndarray  # of each text, 0 or 1


def measure(learner: Learner, texts: Examples) -> Cell:
    answers = Answers(texts.rows, learner.config)(learner)
    scores = report(texts, answers).overall.scores
    exact = [exact_match([row], [answer]) for row, answer in zip(texts, answers, strict=True)]
    return Cell(scores, np.array(exact))


def tables(cells: Mapping[str, Sequence[Cell]]) -> Iterator[str]:
    """Lines of Markdown: a table for each metric and one of differences in exact match."""
    columns = ["clean", *(f"p = {share:g}" for share in SHARES[1:])]

    def header(title: str) -> list[str]:
        return [f"| {title} | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]

    for metric in METRICS:
        yield from header(metric.replace("_", " "))
        for name, row in cells.items():
            yield (
                f"| {VARIANTS[name].title} | "
                + " | ".join(
                    f"{100 * score.value:.1f} ±{50 * (score.high - score.low):.1f}"
                    for score in (cell.scores[metric] for cell in row)
                )
                + " |"
            )
        yield ""
    if BASE not in cells:
        return
    yield from header(f"exact match less that of {VARIANTS[BASE].title}")
    for name, row in cells.items():
        if name == BASE:
            continue
        found = []
        for cell, base in zip(row, cells[BASE], strict=True):
            difference = cell.exact - base.exact
            low, high = bootstrap(100 * difference)
            found.append(f"{100 * difference.mean():+.1f} ({low:+.1f} to {high:+.1f})")
        yield f"| {VARIANTS[name].title} | {' | '.join(found)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="kind:path of a data set to parse, with English texts")
    parser.add_argument("--out", type=Path, required=True, help="folder for run folders")
    parser.add_argument("--run", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--names", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seed", type=int, default=0, help="of training")
    parser.add_argument("--typo-seed", type=int, default=0)
    options = parser.parse_args()
    given = {name: Path(folder) for name, _, folder in (run.partition("=") for run in options.run)}
    train, dev = (read_examples(options.data, split, ["en"]) for split in ("train", "dev"))
    projection = data_config(train, {}).projection
    texts = [misspell(dev.rows, projection, share, options.typo_seed) for share in SHARES]
    for share, some in zip(SHARES, texts, strict=True):
        changed = sum(a.text != b.text for a, b in zip(dev, some, strict=True))
        say(f"p = {share:g}: {changed} of {len(dev)} texts have a typo")
    cells: dict[str, list[Cell]] = {}
    for name in options.names:
        variant, folder = VARIANTS[name], given.get(name, options.out / name)
        changes = {"seed": options.seed, **variant.settings}
        settings = dataclasses.replace(SETTINGS, **changes)
        if name in given:
            torch.set_num_threads(settings.threads)
        elif variant.minhash:
            train_minhash(train, dev, folder, settings)
        else:
            fit(
                train, dev, out=folder, config=variant.config, settings=settings, device="cpu",
                progress=False, say=say, pictures=False,
            )  # fmt: skip
        learner = load(folder, variant, train, settings.resolve(len(train)))
        cells[name] = [measure(learner, some) for some in texts]
        say(f"{name}: " + ", ".join(f"{100 * c.exact.mean():.2f}" for c in cells[name]))
    print("\n".join(tables(cells)))
    say(f"pqrnn-native {pqrnn_native.__version__}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
