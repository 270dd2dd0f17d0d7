"""Distilling a sentence encoder: a student learns the vectors of a teacher on unlabelled text.

One run folder holds everything: ``config.json``, ``log.jsonl``, ``checkpoint.pt`` (whole or
absent), ``model.safetensors`` and ``curve.png``. A run that was cut is resumed by the same call
and goes on with the same batches as if it had not been cut.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import nn
from ..checkpoint import StorageType, load_tensors, read_metadata, read_model, save_model
from ..config import PQRNNConfig, ProjectionConfig
from ..projection import Projection
from .batches import digest, endless
from .cache import TeacherCache
from .data import SentencePairs
from .devices import bfloat16_pays, find_device
from .inputs import distinct_rows
from .losses import cosine_loss, ranking_loss, relational_loss
from .metrics import cosine_rows, spearman
from .optim import Averaged, adamw, rate, seed_step, set_rate
from .run_folder import RunFolder, progress_bar
from .saving import storage_of
from .teachers import Teacher, unit_rows


@dataclass(frozen=True)
class DistillSettings:
    """How to train; what is trained is a :class:`pqrnn_native.PQRNNConfig`.

    Attributes:
        epochs: passes over the sentences.
        batch_size: sentences a step.
        learning_rate: peak of a linear warm-up followed by a cosine decay to 1 %.
        warmup_steps: length of the warm-up.
        weight_decay: AdamW's, on matrices only.
        clip: largest norm of the gradient.
        ema: decay of the averaged weights that are evaluated and saved; 0 turns it off.
        cosine, relational, ranking: weights of the three losses of :mod:`.losses`.
        temperature: of the ranking loss.
        center: take each teacher's mean vector from its vectors. Of use where all cosines of a
            teacher are close to 1, and where several teachers are joined.
        max_tokens: longer texts are cut while training.
        seed: of everything random.
        evaluate_every: steps between evaluations and checkpoints.
        threads: torch threads; 0 leaves torch's own choice.
        bfloat16: matrix products in bfloat16 (autocast); None: where the device has instructions
            for them.
        bottleneck_bits: 2 learns with bottleneck weights of four levels a row, which ``"int2"``
            stores without loss; None with weights as they are.
    """

    epochs: float = 6.0
    batch_size: int = 1024
    learning_rate: float = 3e-3
    warmup_steps: int = 200
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.998
    cosine: float = 1.0
    relational: float = 10.0
    ranking: float = 1.0
    temperature: float = 0.05
    center: bool = False
    max_tokens: int = 64
    seed: int = 0
    evaluate_every: int = 300
    threads: int = 0
    bfloat16: bool | None = None
    bottleneck_bits: int | None = None

    def __post_init__(self) -> None:
        positive = ("epochs", "batch_size", "learning_rate", "clip", "temperature", "max_tokens")
        for name in (*positive, "evaluate_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)!r}")
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2, got {self.batch_size!r}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in [0, 1), got {self.ema!r}")
        if self.bottleneck_bits not in (None, 2):
            raise ValueError(f"bottleneck_bits must be 2 or None, got {self.bottleneck_bits!r}")


def fit_pca(vectors: np.ndarray, dim: int, *, sample: int = 100_000) -> np.ndarray:
    """Directions of the largest second moment: float32 ``[width, dim]``, orthonormal columns.

    The mean is not removed, since cosines of the teacher are to be kept.

    Args:
        vectors: ``[rows, width]``; the first ``sample`` rows are used.
        dim: at most ``width``.
    """
    if not 0 < dim <= vectors.shape[1]:
        raise ValueError(f"dim must be in 1..{vectors.shape[1]}, got {dim!r}")
    part = np.asarray(vectors[:sample], dtype=np.float64)
    _, directions = np.linalg.eigh(part.T @ part)
    return np.ascontiguousarray(directions[:, ::-1][:, :dim], dtype=np.float32)


class Student:
    """The model being trained, its averaged twin, and text in, vectors out."""

    def __init__(
        self, config: PQRNNConfig, settings: DistillSettings, device: torch.device
    ) -> None:
        torch.manual_seed(settings.seed)
        self.config, self.settings, self.device = config, settings, device
        self.projection = Projection(**asdict(config.projection))
        self.training_projection = Projection(
            **{**asdict(config.projection), "max_tokens": settings.max_tokens}
        )
        model = nn.PQRNNForSentenceEmbedding(config).to(self.device)
        if settings.bottleneck_bits:
            model.encoder.coarsen()
        self.averaged = Averaged(model, settings.ema)
        self.model, self.average = self.averaged.model, self.averaged.average
        self.optimizer = adamw(self.model, settings.learning_rate, settings.weight_decay)

    def forward(self, model: torch.nn.Module, texts: Sequence[str], *, train: bool) -> Tensor:
        projection = self.training_projection if train else self.projection
        inputs = distinct_rows(projection, texts).to(self.device)
        half = bool(self.settings.bfloat16)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            vectors: Tensor = model(inputs.features, inputs.offsets, index=inputs.index)
        return vectors.float()

    def encode(self, texts: Sequence[str], batch_size: int = 512) -> np.ndarray:
        """Vectors of the averaged model in eval mode: float32 ``[n, dim]``."""
        self.average.eval()
        parts = []
        with torch.inference_mode():
            for start in range(0, len(texts), batch_size):
                part = self.forward(self.average, texts[start : start + batch_size], train=False)
                parts.append(part.cpu().numpy())
        return np.concatenate(parts)

    def start_from(
        self, path: str | os.PathLike[str], texts: Sequence[str], targets: np.ndarray
    ) -> None:
        """Take the weights of a model file, turned towards the targets ``[n, dim]`` of the texts.

        The principal directions of other texts, or of another teacher, are others, so the head is
        turned by the orthogonal matrix that brings its vectors nearest; cosines stay as they are.
        The texts also give batch norm its moments.
        """
        inputs = distinct_rows(self.training_projection, texts).to(self.device)
        self.model.load_tensors(load_tensors(path))
        self.model.encoder.recentre(inputs.features, inputs.offsets, inputs.index)
        self.average.load_state_dict(self.model.state_dict())
        moment = self.encode(texts).T.astype(np.float64) @ unit_rows(targets.astype(np.float64))
        left, _, right = np.linalg.svd(moment)
        turn = torch.from_numpy((left @ right).T).to(self.device, torch.float32)
        with torch.no_grad():
            for parameter in self.model.head.parameters():
                parameter.copy_(turn @ parameter)
        self.average.load_state_dict(self.model.state_dict())

    def state(self) -> dict[str, Any]:
        return {**self.averaged.state(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        self.averaged.load(state)
        self.optimizer.load_state_dict(state["optimizer"])


def evaluate_pairs(encode: Callable[[Sequence[str]], np.ndarray], pairs: SentencePairs) -> float:
    """Spearman x 100 between cosines and gold scores."""
    n = len(pairs.first)
    vectors = encode([*pairs.first, *pairs.second])
    return 100 * spearman(cosine_rows(vectors[:n], vectors[n:]), pairs.scores)


_SAMPLE = 100_000  # texts from which means and directions are taken
_PART = 65_536
_START_TEXTS = 4096  # that give batch norm its moments


def joined_targets(
    caches: Sequence[TeacherCache],
    texts: Sequence[str],
    dim: int,
    *,
    center: bool = False,
    translations: np.ndarray | None = None,
) -> np.ndarray:
    """What a student is to say of each text: float16 ``[n, dim]``.

    Vectors of several teachers stand side by side, each of length 1, and are turned into the
    largest principal directions of them all.

    Args:
        caches: of each teacher, with all texts.
        texts: ``n`` of them.
        dim: at most the teachers' widths together.
        center: take the mean over the texts from a teacher's vectors before they are scaled.
        translations: int64 ``[n]``, the same number for texts that say the same, -1 for others.
            Half of such a text's target is its own, half the mean of all of them.
    """
    count = len(texts)
    sample = np.random.default_rng(0).permutation(count)[:_SAMPLE]
    rows = [cache.rows(texts) for cache in caches]

    def raw(which: int, part: np.ndarray | slice) -> np.ndarray:
        return np.asarray(caches[which].vectors[rows[which][part]], np.float32)

    means = [
        raw(which, sample).mean(0) if center else np.float32(0) for which in range(len(caches))
    ]

    def joined(part: np.ndarray | slice) -> np.ndarray:
        sides = [unit_rows(raw(which, part) - mean) for which, mean in enumerate(means)]
        return sides[0] if len(sides) == 1 else np.concatenate(sides, 1)

    directions = fit_pca(joined(sample), dim)
    out = np.empty((count, dim), np.float16)
    for start in range(0, count, _PART):
        out[start : start + _PART] = joined(slice(start, start + _PART)) @ directions
    if translations is not None:
        _share_targets(out, translations)
    return out


def _share_targets(targets: np.ndarray, translations: np.ndarray) -> None:
    shared = np.flatnonzero(translations >= 0)
    _, group = np.unique(translations[shared], return_inverse=True)
    sums = np.zeros((group.max(initial=-1) + 1, targets.shape[1]), np.float32)
    own = unit_rows(targets[shared].astype(np.float32))
    np.add.at(sums, group, own)
    targets[shared] = (own + unit_rows(sums)[group]) / 2


def distill(
    config: PQRNNConfig,
    teacher: Teacher | Sequence[Teacher],
    texts: Sequence[str],
    out: str | Path,
    *,
    cache: str | Path,
    translations: Sequence[Sequence[str]] = (),
    init: str | os.PathLike[str] | None = None,
    settings: DistillSettings | None = None,
    evaluation: SentencePairs | None = None,
    dtype: StorageType = "float16",
    progress: bool | None = None,
) -> Path:
    """Train a sentence encoder on a teacher's vectors and save it for inference.

    Args:
        config: the student; ``task`` must be ``"embedding"``. Where ``output_size`` is smaller than
            the teacher's width, the target is the teacher's vector in its ``output_size`` largest
            principal directions.
        teacher: any :class:`~pqrnn_native.train.teachers.Teacher`, or several: the target is then
            what :func:`joined_targets` makes of them.
        texts: distinct sentences.
        out: run folder, made when absent, resumed when it holds a checkpoint.
        cache: folder of teacher vectors, shared between runs.
        translations: groups of sentences that say the same, in any languages; further texts, whose
            targets lean towards each other.
        init: model file of the same shape to start from, or an embedded one's name. Its weights are
            scaled so that a tenth of the usual ``learning_rate`` is enough.
        settings: see :class:`DistillSettings`.
        evaluation: pairs to report Spearman x 100 on, e.g. STS-B dev; the best evaluation is the
            one that is saved. Without pairs the last weights are saved.
        dtype: storage of the saved weights: ``"float32"``, ``"float16"``, ``"int8"``, ``"int4"`` or
            ``"int2"``; with ``config.precision="int8"`` they are in 8 bits.
        progress: show a bar; None shows one on a terminal.

    Returns:
        The path of ``model.safetensors`` in ``out``.

    Raises:
        ValueError: too few texts for a batch, another task, ``init`` of another shape, a run
            folder of other settings, or fewer bits for a model of 8, in training or in the file.
    """
    settings = settings or DistillSettings()
    if config.task != "embedding":
        raise ValueError(f"config.task must be 'embedding' to distil vectors, got {config.task!r}")
    dtype = storage_of(config, dtype)
    if settings.bottleneck_bits and config.precision == "int8":
        raise ValueError("config.precision must be 'float32' for bottleneck_bits=2, got 'int8'")
    if init is not None:
        _check_shape(config, init)
    teachers = [teacher] if isinstance(teacher, Teacher) else list(teacher)
    if not teachers:
        raise ValueError("teacher must be a teacher or several, got none")
    texts, groups = _with_translations(texts, translations)
    if len(texts) < settings.batch_size:
        raise ValueError(f"{len(texts)} texts do not fill a batch of {settings.batch_size}")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = find_device(None)
    if settings.bfloat16 is None:
        settings = replace(settings, bfloat16=bfloat16_pays(device))
    description = {
        "config": json.loads(config.to_json()),
        "settings": asdict(settings),
        "teacher": " + ".join(each.name for each in teachers),
        "texts": len(texts),
        "texts_blake2b": digest(texts),
    }
    if groups is not None:
        description["translations"] = int((groups >= 0).sum())
    if init is not None:
        description["init"] = digest([read_model(init).hex()])
    run = RunFolder(out, description)
    caches = [TeacherCache(cache, each) for each in teachers]
    for store in caches:
        with progress_bar("teacher vectors", unit="text", show=progress) as bar:
            store.add(texts, progress=bar.at)
    targets = joined_targets(
        caches, texts, config.output_size, center=settings.center, translations=groups
    )
    student = Student(config, settings, device)
    # Ragged rows need no padding, but texts of like length are harder to tell apart: batches of all
    # lengths cost a student of 41,000 English sentences half a point on STS-B.
    lengths = batching_lengths(config.projection, texts)
    steps = max(1, int(settings.epochs * (len(texts) // settings.batch_size)))

    state = run.load_checkpoint()
    first = 0
    if state is None and init is not None:
        every = -(-len(texts) // _START_TEXTS)
        student.start_from(init, texts[::every], targets[::every])
    if state is not None:
        student.load(state["student"])
        first = int(state["step"])

    def evaluate(step: int, means: dict[str, float]) -> None:
        row: dict[str, Any] = {"step": step, "seconds": round(run.seconds(), 1), **means}
        if evaluation is not None:
            row["spearman"] = round(evaluate_pairs(student.encode, evaluation), 3)
            run.keep_best(row["spearman"], lambda path: export(student, path, dtype, row, run))
        run.log(row)
        run.save_checkpoint({"step": step, "student": student.state()})

    with progress_bar("distil", total=steps, unit="step", show=progress) as bar:
        bar.at(first, steps)
        sums: dict[str, float] = {}
        counted = 0
        for step, rows in endless(lengths, settings.batch_size, settings.seed, first, steps):
            losses = _train_step(student, [texts[row] for row in rows], targets[rows], step, steps)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value
            counted += 1
            bar.at(step + 1, steps, **losses, **run.best_shown())
            if (step + 1) % settings.evaluate_every == 0 or step + 1 == steps:
                evaluate(step + 1, {k: round(v / counted, 5) for k, v in sums.items()})
                sums, counted = {}, 0
    if evaluation is None:
        export(student, run.model_path, dtype, {"step": steps}, run)
    run.draw_curves()
    return run.model_path


def batching_lengths(projection: ProjectionConfig, texts: Sequence[str]) -> np.ndarray:
    """What batches are sorted by: characters, but those of some other text for a single token.

    Words by themselves have other moments than sentences. Batches of nothing else, as word lists
    would give, leave batch norm with an average that fits neither.

    Args:
        projection: splits texts into tokens.
        texts: n texts.

    Returns:
        int64 ``[n]``.
    """
    lengths = np.array([len(text) for text in texts], np.int64)
    single = token_counts(projection, texts) == 1
    others = lengths[~single]
    if len(others):
        rng = np.random.default_rng(0)
        lengths[single] = rng.choice(others, int(single.sum()))
    return lengths


def token_counts(projection: ProjectionConfig, texts: Sequence[str]) -> np.ndarray:
    """Positions of each of n texts: int64 ``[n]``."""
    split = Projection(**asdict(replace(projection, feature_size=32, ngram_size=0)))
    return np.concatenate(
        [np.diff(split.ragged(texts[at : at + _PART])[1]) for at in range(0, len(texts), _PART)]
    )


def _check_shape(config: PQRNNConfig, init: str | os.PathLike[str]) -> None:
    other = read_metadata(init).config
    known = other.tensor_shapes()
    for name, shape in config.tensor_shapes().items():
        if known.get(name, shape) != shape:
            raise ValueError(
                f"init must have the shape of config: {name} is {known[name]} in "
                f"{os.fspath(init)!r}, wanted {shape}"
            )
    features, wanted = (
        replace(each.projection, max_tokens=-1, distortion=0.0) for each in (other, config)
    )
    if features != wanted:
        raise ValueError(
            f"init must have the projection of config, {os.fspath(init)!r} has {features}, "
            f"wanted {wanted}"
        )


def _with_translations(
    texts: Sequence[str], translations: Sequence[Sequence[str]]
) -> tuple[list[str], np.ndarray | None]:
    """Distinct texts, those of the groups first, and the number of each one's group or -1."""
    if not translations:
        return list(texts), None
    numbers: dict[str, int] = {}
    for number, group in enumerate(translations):
        for text in group:
            numbers.setdefault(text, number)
    for text in texts:
        numbers.setdefault(text, -1)
    return list(numbers), np.fromiter(numbers.values(), np.int64, len(numbers))


def _train_step(
    student: Student, texts: Sequence[str], targets: np.ndarray, step: int, steps: int
) -> dict[str, float]:
    settings = student.settings
    share = rate(step, steps, settings.warmup_steps)
    set_rate(student.optimizer, settings.learning_rate * share)
    seed_step(settings.seed, step)  # zoneout
    student.model.train()
    vectors = student.forward(student.model, texts, train=True)
    target = torch.from_numpy(targets.astype(np.float32)).to(student.device)
    losses: dict[str, Tensor] = {}
    if settings.cosine:
        losses["cosine"] = cosine_loss(vectors, target)
    if settings.relational:
        losses["relational"] = relational_loss(vectors, target)
    if settings.ranking:
        losses["ranking"] = ranking_loss(vectors, target, settings.temperature)
    total = torch.stack([getattr(settings, name) * value for name, value in losses.items()]).sum()
    student.optimizer.zero_grad(set_to_none=True)
    total.backward()
    torch.nn.utils.clip_grad_norm_(student.model.parameters(), settings.clip)
    student.optimizer.step()
    student.averaged.update(step)
    if not math.isfinite(total.item()):
        raise FloatingPointError(f"the loss is {total.item()} at step {step}; lower learning_rate")
    return {name: value.item() for name, value in losses.items()}


def export(
    student: Student, path: Path, dtype: StorageType, row: dict[str, Any], run: RunFolder
) -> None:
    """Save the averaged student for inference, with what is known about it."""
    info = {"trained": time.strftime("%Y-%m-%d"), "run": run.description, "result": row}
    save_model(path, student.config, student.average.export_tensors(), info=info, dtype=dtype)
