"""Distilling a sentence encoder: a student learns the vectors of a teacher on unlabelled text.

One run folder holds everything: ``config.json``, ``log.jsonl``, ``checkpoint.pt`` (whole or
absent), ``model.safetensors`` and ``curve.png``. A run that was cut is resumed by the same call
and goes on with the same batches as if it had not been cut.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import nn
from ..checkpoint import StorageType, save_model
from ..config import PQRNNConfig
from ..projection import Projection
from .batches import digest, endless
from .cache import TeacherCache
from .data import SentencePairs
from .devices import bfloat16_pays, find_device
from .losses import cosine_loss, ranking_loss, relational_loss
from .metrics import cosine_rows, spearman
from .optim import Averaged, adamw, rate, seed_step, set_rate
from .run_folder import RunFolder
from .teachers import Teacher


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
        max_tokens: longer texts are cut while training.
        seed: of everything random.
        evaluate_every: steps between evaluations and checkpoints.
        threads: torch threads; 0 leaves torch's own choice.
        bfloat16: matrix products in bfloat16 (autocast); None: where the device has instructions
            for them.
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
    max_tokens: int = 64
    seed: int = 0
    evaluate_every: int = 300
    threads: int = 0
    bfloat16: bool | None = None

    def __post_init__(self) -> None:
        positive = ("epochs", "batch_size", "learning_rate", "clip", "temperature", "max_tokens")
        for name in (*positive, "evaluate_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)!r}")
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2, got {self.batch_size!r}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in [0, 1), got {self.ema!r}")


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
        self.averaged = Averaged(nn.PQRNNForSentenceEmbedding(config).to(self.device), settings.ema)
        self.model, self.average = self.averaged.model, self.averaged.average
        self.optimizer = adamw(self.model, settings.learning_rate, settings.weight_decay)

    def forward(self, model: torch.nn.Module, texts: Sequence[str], *, train: bool) -> Tensor:
        projection = self.training_projection if train else self.projection
        features, index, offsets = projection.ragged_unique(texts)
        half = bool(self.settings.bfloat16)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            vectors: Tensor = model(
                torch.from_numpy(features).to(self.device),
                torch.from_numpy(offsets).to(self.device),
                index=torch.from_numpy(index).to(self.device),
            )
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


def _targets(cache: TeacherCache, texts: Sequence[str], dim: int) -> np.ndarray:
    """Teacher vectors in ``dim`` dimensions, in order of ``texts``: float16 ``[n, dim]``."""
    rows = cache.rows(texts)
    out = np.empty((len(rows), dim), dtype=np.float16)
    sample = np.random.default_rng(0).permutation(len(rows))[:100_000]
    directions = fit_pca(cache.vectors[rows[sample]], dim)
    for start in range(0, len(rows), 65536):
        part = np.asarray(cache.vectors[rows[start : start + 65536]], dtype=np.float32)
        out[start : start + 65536] = part @ directions
    return out


def distill(
    config: PQRNNConfig,
    teacher: Teacher,
    texts: Sequence[str],
    out: str | Path,
    *,
    cache: str | Path,
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
        teacher: any :class:`~pqrnn_native.train.teachers.Teacher`.
        texts: distinct sentences.
        out: run folder, made when absent, resumed when it holds a checkpoint.
        cache: folder of teacher vectors, shared between runs.
        settings: see :class:`DistillSettings`.
        evaluation: pairs to report Spearman x 100 on, e.g. STS-B dev; the best evaluation is the
            one that is saved. Without pairs the last weights are saved.
        dtype: storage of the saved weights: ``"float32"``, ``"float16"`` or ``"int8"``.
        progress: show a bar; None shows one on a terminal.

    Returns:
        The path of ``model.safetensors`` in ``out``.

    Raises:
        ValueError: too few texts for a batch, another task, or a run folder of other settings.
    """
    settings = settings or DistillSettings()
    if config.task != "embedding":
        raise ValueError(f"config.task must be 'embedding' to distil vectors, got {config.task!r}")
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
        "teacher": teacher.name,
        "texts": len(texts),
        "texts_blake2b": digest(texts),
    }
    run = RunFolder(out, description)
    store = TeacherCache(cache, teacher)
    with run.bar("teacher vectors", unit="text", show=progress) as bar:
        store.add(texts, progress=bar.at)
    targets = _targets(store, texts, config.output_size)
    student = Student(config, settings, device)
    lengths = np.array([len(text) for text in texts])
    steps = max(1, int(settings.epochs * (len(texts) // settings.batch_size)))

    state = run.load_checkpoint()
    first = 0
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

    with run.bar("distil", total=steps, unit="step", show=progress) as bar:
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
    if student.config.precision == "int8":
        dtype = "int8"
    save_model(path, student.config, student.average.export_tensors(), info=info, dtype=dtype)
