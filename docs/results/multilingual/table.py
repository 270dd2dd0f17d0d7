"""A start for a student with many words: a table of word vectors first, then the bottleneck.

Under a dense projection each step moves the vectors of all words a little, so that rare words
learn slowly. So a model learns whose bottleneck's outputs before batch norm are rows of a table,
one for each word of the texts; then the bottleneck learns the table, word by word, each in
proportion to how often it occurs. What is written is a model file for ``distill --init``.

    python table.py --teacher vectors:FOLDER --text picked/texts.txt --eval sts:picked/dev.csv \
        --feature-size 49152 --ngram-size 12288 --bottleneck-size 144 --out table/
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from evaluate import measure
from torch import Tensor

from pqrnn_native import PQRNNConfig, Projection, ProjectionConfig
from pqrnn_native.checkpoint import save_model
from pqrnn_native.train import data
from pqrnn_native.train.batches import endless
from pqrnn_native.train.cache import TeacherCache
from pqrnn_native.train.distill import (
    DistillSettings,
    Student,
    _train_step,
    _with_translations,
    batching_lengths,
    evaluate_pairs,
    joined_targets,
    token_counts,
)
from pqrnn_native.train.optim import rate
from pqrnn_native.train.teachers import load_teacher

_KEY = 128  # features that tell words apart
_CHUNK = 16_384
_START = 0.03  # standard deviation of rows at the start, small so that a word means nothing yet
_BETAS = (0.9, 0.98)


class Words:
    """The words of texts, numbered in order of appearance.

    Attributes:
        numbers: of the tokens of all texts, int64.
        offsets: text s has ``numbers[offsets[s]:offsets[s + 1]]``.
        words: each word once, bytes.
    """

    def __init__(self, projection: ProjectionConfig, texts: Sequence[str]) -> None:
        small = dataclasses.replace(projection, feature_size=_KEY, ngram_size=0)
        self.project = Projection(**dataclasses.asdict(small))
        self._known: dict[bytes, int] = {}
        self.words: list[bytes] = []
        parts, counts = [], []
        for at in range(0, len(texts), _CHUNK):
            rows, index, offsets = self.project.ragged_unique(texts[at : at + _CHUNK])
            _, first = np.unique(index, return_index=True)
            numbers = np.empty(len(rows), np.int64)
            for row, token in enumerate(first):
                key = rows[row].tobytes()
                if key not in self._known:
                    text = int(np.searchsorted(offsets, token, side="right")) - 1
                    found = self.project.words(texts[at + text])
                    self._known[key] = len(self.words)
                    self.words.append(found[token - offsets[text]])
                numbers[row] = self._known[key]
            parts.append(numbers[index])
            counts.append(np.diff(offsets))
        self.numbers = np.concatenate(parts)
        self.offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))])

    def find(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the tokens, unknown words get ``len(words)``, and offsets."""
        rows, index, offsets = self.project.ragged_unique(texts)
        numbers = [self._known.get(row.tobytes(), len(self.words)) for row in rows]
        return np.array(numbers, np.int64)[index], offsets

    def rows(self, texts: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
        """The same for some of the texts of the start, by their numbers."""
        parts = [self.numbers[self.offsets[t] : self.offsets[t + 1]][:most] for t in texts]
        return np.concatenate(parts), np.cumsum([0, *map(len, parts)])


class TableStudent(Student):
    """A student of words by number: rows of :attr:`table` stand for the bottleneck's products."""

    def __init__(self, config: PQRNNConfig, settings: DistillSettings, words: Words) -> None:
        width = config.bottleneck_size
        plain = dataclasses.replace(config.projection, feature_size=width, ngram_size=0)
        super().__init__(
            dataclasses.replace(config, projection=plain), settings, torch.device("cpu")
        )
        self.words = words
        for model in (self.model, self.average):
            weight = model.encoder.bottleneck.weight
            weight.requires_grad_(False)
            weight.copy_(torch.eye(width))
        generator = torch.Generator().manual_seed(settings.seed)
        shape = (len(words.words) + 1, width)
        self.table = torch.randn(shape, generator=generator) * _START
        self.table[-1] = 0
        self._moments = torch.zeros(2, *shape)

    def forward(self, model: torch.nn.Module, texts: Sequence, *, train: bool) -> Tensor:
        if train:
            numbers, offsets = self.words.rows(np.asarray(texts), self.settings.max_tokens)
        else:
            numbers, offsets = self.words.find(texts)
        self._used, index = torch.unique(torch.from_numpy(numbers), return_inverse=True)
        self._rows = self.table[self._used].requires_grad_(train)
        half = bool(self.settings.bfloat16)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            vectors: Tensor = model(self._rows, torch.from_numpy(offsets), index=index)
        return vectors.float()

    def update(self, learning_rate: float) -> None:
        """Adam's step of the rows that the batch used."""
        used, gradient = self._used, self._rows.grad
        first = torch.lerp(gradient, self._moments[0, used], _BETAS[0])
        second = torch.lerp(gradient.square(), self._moments[1, used], _BETAS[1])
        self._moments[0, used], self._moments[1, used] = first, second
        self.table[used] -= learning_rate * first / (second.sqrt() + 1e-10)


def learn_table(
    student: TableStudent,
    texts: Sequence[str],
    targets: np.ndarray,
    steps: int,
    peak: float,
    pairs: data.SentencePairs,
) -> None:
    """Train the table and everything behind it."""
    settings = student.settings
    lengths = batching_lengths(student.config.projection, texts)
    begin, sums = time.monotonic(), {}
    for step, rows in endless(lengths, settings.batch_size, settings.seed, 0, steps):
        losses = _train_step(student, rows, targets[rows], step, steps)
        student.update(peak * rate(step, steps, settings.warmup_steps))
        sums = {name: sums.get(name, 0.0) + value for name, value in losses.items()}
        if (step + 1) % settings.evaluate_every == 0 or step + 1 == steps:
            means = {n: round(v / settings.evaluate_every, 4) for n, v in sums.items()}
            score = round(evaluate_pairs(student.encode, pairs), 2)
            seconds = round(time.monotonic() - begin, 1)
            line = {"step": step + 1, "seconds": seconds, **means, "spearman": score}
            print(json.dumps(line), flush=True)
            sums = {}


def fit_bottleneck(
    config: PQRNNConfig, words: Words, table: Tensor, steps: int, batch: int, most: int
) -> Tensor:
    """Weights ``[B, F]`` whose products with the features of words are the rows of the table."""
    project = Projection(**dataclasses.asdict(config.projection))
    counts = np.bincount(words.numbers, minlength=len(words.words)).astype(float)
    usual = np.argsort(-counts, kind="stable")[:most]
    asked = [words.words[number].decode("utf-8", "replace") for number in usual]
    kept = np.flatnonzero(token_counts(config.projection, asked) == 1)
    chance = counts[usual[kept]] ** 0.75
    chance /= chance.sum()
    rng = np.random.default_rng(0)
    features, width = config.projection.feature_size, config.bottleneck_size
    weight = torch.zeros(width, features, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=1.0, betas=(0.9, 0.95), fused=True)
    scale = float(table[torch.from_numpy(usual[:1000])].square().mean().sqrt())
    begin, total = time.monotonic(), 0.0
    for step in range(steps):
        chosen = kept[np.unique(rng.choice(len(kept), batch, p=chance))]
        rows = torch.from_numpy(project.ragged([asked[row] for row in chosen])[0])
        target = table[torch.from_numpy(usual[chosen])]
        with torch.autocast("cpu", torch.bfloat16):
            product = torch.nn.functional.linear(rows.to(torch.bfloat16), weight)
        loss = (product.float() - target).square().sum() / target.square().sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.param_groups[0]["lr"] = 3 * scale / features * rate(step, steps, 20)
        optimizer.step()
        total += loss.item()
        if (step + 1) % 50 == 0:
            print(step + 1, round(time.monotonic() - begin), round(total / 50, 4), flush=True)
            total = 0.0
    return weight.detach()


def main() -> None:
    """Write ``table.pt`` and ``start.safetensors``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--translations", help="tsv:FILE")
    parser.add_argument("--eval", required=True, help="sts:FILE")
    parser.add_argument("--data", type=Path, help="the shared data: also measure the table's model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--feature-size", type=int, default=49152)
    parser.add_argument("--ngram-size", type=int, default=12288)
    parser.add_argument("--bottleneck-size", type=int, default=144)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--learning-rate", type=float, default=1e-2, help="of the table")
    parser.add_argument("--fit-steps", type=int, default=800)
    parser.add_argument("--fit-words", type=int, default=200_000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    config = PQRNNConfig(
        projection=ProjectionConfig(
            feature_size=options.feature_size, ngram_size=options.ngram_size
        ),
        bottleneck_size=options.bottleneck_size, state_size=128, kernel_size=2, num_layers=1,
        attention_heads=4, output_size=256, skip=True,
    )  # fmt: skip
    texts = options.text.read_text("utf-8").split("\n")[:-1]
    groups = data.read_translations(options.translations) if options.translations else ()
    texts, group = _with_translations(texts, groups)
    settings = DistillSettings(
        batch_size=options.batch_size, bfloat16=True, evaluate_every=250, threads=options.threads
    )
    pairs = data.read_pairs(options.eval)
    path = options.out / "table.pt"
    begin = time.monotonic()
    words = Words(config.projection, texts)
    print(len(words.words), "words", len(words.numbers), "tokens", time.monotonic() - begin)
    student = TableStudent(config, settings, words)
    if path.exists():
        found = torch.load(path)
        student.table = found["table"]
        student.load(found["student"])
    else:
        cache = TeacherCache(options.out, load_teacher(options.teacher))
        targets = joined_targets([cache], texts, config.output_size, translations=group)
        learn_table(student, texts, targets, options.steps, options.learning_rate, pairs)
        torch.save({"table": student.table, "student": student.state()}, path)
    if options.data:
        print(json.dumps(measure(student.encode, options.data, every=3)["mean of 8"]))
    weight = fit_bottleneck(
        config, words, student.table, options.fit_steps, 4096, options.fit_words
    )
    tensors = dict(student.average.export_tensors())
    # Batch norm is folded into the identity that stands for the bottleneck.
    tensors["bottleneck.weight"] = tensors["bottleneck.weight"] @ weight.numpy()
    save_model(options.out / "start.safetensors", config, tensors, dtype="float16")
    print(options.out / "start.safetensors")


if __name__ == "__main__":
    main()
