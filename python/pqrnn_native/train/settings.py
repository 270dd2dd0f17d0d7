"""How to train, and the shape that is trained by default: every number that was tuned is here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..config import PQRNNConfig, ProjectionConfig

Task = Literal["parse", "classify", "tag"]
TASKS: tuple[Task, ...] = ("parse", "classify", "tag")


DEFAULT_PROJECTION = ProjectionConfig(feature_size=4096, ngram_size=2048, split_apostrophes=True)
DEFAULT_SHAPE: Mapping[str, Any] = {
    "bottleneck_size": 240,
    "state_size": 128,
    "kernel_size": 2,
    "num_layers": 2,
    "attention_heads": 4,
    "skip": True,
}
# What is different to classify: a label needs less of a text than its slots do.
CLASSIFY_SHAPE: Mapping[str, Any] = {"bottleneck_size": 128, "state_size": 64, "num_layers": 1}
# Overfitting starts earlier where a text has one gold answer instead of one for each token.
DEFAULT_DROPOUTS: Mapping[Task, float] = {"parse": 0.2, "classify": 0.4, "tag": 0.2}


@dataclass(frozen=True)
class TrainSettings:
    """How to train; what is trained is a :class:`pqrnn_native.PQRNNConfig`.

    Zero epochs, batch size, learning rate or evaluation period follow from the number of rows,
    dropout None from the task, see :meth:`resolve`, and bfloat16 None from the device.

    Attributes:
        epochs: passes over the rows.
        batch_size: rows a step; with several processes, of each.
        learning_rate: peak of a linear warm-up followed by a cosine decay to 1 %.
        warmup: share of the steps that warm up, [0, 1).
        weight_decay: AdamW's, on matrices only.
        clip: largest norm of the gradient.
        ema: decay of the averaged weights that are evaluated and saved; 0 turns it off.
        dropout: after the bottleneck and after each layer, [0, 1).
        token_dropout: probability of showing a token without any features, [0, 1).
        distortion: probability of distorting a token's letters, [0, 1).
        parallel: probability of showing a text in another language of the data, [0, 1], see
            :class:`.augment.ParallelRows`.
        recombine: probability of giving a text all the slot values of another one of its intent,
            [0, 1], see :class:`.augment.TemplateRecombination`.
        slot_exchange: probability of giving slots of a text the values of others, [0, 1], see
            :class:`.augment.SlotExchange`.
        label_smoothing: of cross entropies, [0, 1); the likelihood of a CRF is left as it is.
        slot_weight: weight of the tags' loss beside the intent's 1.
        soft_weight: weight of the cross entropies with soft labels beside those with gold ones.
        temperature: both sides of the former are softened by it, > 0.
        max_tokens: longer texts are cut while training; 0: never.
        patience: evaluations without a better one after which training stops; 0: never.
        evaluate_every: steps between evaluations and checkpoints.
        seed: of everything random.
        threads: torch threads; 0 leaves torch's own choice.
        bfloat16: matrix products in bfloat16 (autocast) while training; None: where the device has
            instructions for them.

    Raises:
        ValueError: A value is out of range.
    """

    epochs: float = 0.0
    batch_size: int = 0
    learning_rate: float = 0.0
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.998
    dropout: float | None = None
    token_dropout: float = 0.1
    distortion: float = 0.0
    parallel: float = 0.0
    recombine: float = 0.0
    slot_exchange: float = 0.0
    label_smoothing: float = 0.05
    slot_weight: float = 1.0
    soft_weight: float = 1.0
    temperature: float = 1.0
    max_tokens: int = 256
    patience: int = 10
    evaluate_every: int = 0
    seed: int = 0
    threads: int = 0
    bfloat16: bool | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.clip) and self.clip > 0):
            raise ValueError(f"clip must be positive, got {self.clip!r}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature must be positive, got {self.temperature!r}")
        for name in ("parallel", "recombine", "slot_exchange"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {value!r}")
        for name in (
            "warmup", "ema", "dropout", "token_dropout", "distortion", "label_smoothing",
        ):  # fmt: skip
            value = getattr(self, name)
            if not (name == "dropout" and value is None) and not 0 <= value < 1:
                raise ValueError(f"{name} must be in [0, 1), got {value!r}")
        for name in (
            "epochs", "batch_size", "learning_rate", "weight_decay", "slot_weight", "soft_weight",
            "max_tokens", "patience", "evaluate_every", "seed", "threads",
        ):  # fmt: skip
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must not be negative, got {value!r}")
        if self.batch_size == 1:
            raise ValueError("batch_size must be at least 2, got 1")

    def resolve(
        self, rows: int, processes: int = 1, task: Task = "parse", *, started: bool = False
    ) -> TrainSettings:
        """The settings with each zero replaced by what suits that many training rows.

        A batch is a 64th of the rows, rounded to a power of two in 16 .. 256 and divided among the
        processes. Epochs make about 3,000 steps, but are at least 40 and at most 100; training that
        no longer helps stops earlier, see ``patience``. The learning rate is 2e-3 for batches of
        128 and more, and falls with the square root of smaller ones. Evaluation comes after each
        epoch, or after 50 steps if that is later.

        For task ``"classify"`` a batch is a 128th of the rows, in 16 .. 64, epochs show about
        150,000 rows, but are at least 8 and at most 40, and the learning rate is 4e-3 for batches
        of 32 and more. If it has started from a trained encoder, a batch is at
        most 32, there are 8 epochs, and the learning rate is 3e-3 for 10,000 rows and more and
        falls in proportion to fewer.
        """
        if rows < 2:
            raise ValueError(f"training needs at least 2 rows, got {rows}")
        classify = task == "classify"
        share, largest = (128, 32 if started else 64) if classify else (64, 256)
        fitting = 2 ** round(math.log2(max(1.0, rows / share)))
        batch_size = self.batch_size or max(2, min(largest, max(16, fitting), rows) // processes)
        each = max(1, rows // (batch_size * processes))
        if classify and started:
            epochs, learning_rate = 8.0, 3e-3 * min(1.0, rows / 10_000)
        elif classify:
            epochs = min(40.0, max(8.0, round(150_000 / rows)))
            learning_rate = 4e-3 * min(1.0, math.sqrt(batch_size * processes / 32))
        else:
            epochs = min(100.0, max(40.0, round(3000 / each)))
            learning_rate = 2e-3 * min(1.0, math.sqrt(batch_size * processes / 128))
        return replace(
            self,
            batch_size=batch_size,
            epochs=self.epochs or epochs,
            learning_rate=self.learning_rate or round(learning_rate, 6),
            dropout=DEFAULT_DROPOUTS[task] if self.dropout is None else self.dropout,
            evaluate_every=self.evaluate_every or max(50, each),
        )


# How a teacher is fine-tuned; its heads are new, and learn faster than its encoder.
TEACHER_SETTINGS = TrainSettings(
    epochs=10.0,
    batch_size=32,
    learning_rate=5e-5,
    warmup=0.06,
    ema=0.0,
    dropout=0.1,
    token_dropout=0.0,
    label_smoothing=0.02,
    slot_weight=4.0,
)
TEACHER_HEADS_RATE = 6.0


def default_projection(changes: Mapping[str, Any]) -> ProjectionConfig:
    """The default projection with changes; character n-grams keep their share of the features.

    Apostrophes are tokens of their own only where ``split`` is ``"words"``, since others know none.

    Raises:
        ValueError: A value out of range.
        TypeError: Unknown field, or a value of the wrong type.
    """
    changes = dict(changes)
    size = changes.get("feature_size")
    if isinstance(size, int):
        share = DEFAULT_PROJECTION.ngram_size / DEFAULT_PROJECTION.feature_size
        changes.setdefault("ngram_size", int(share * size) // 32 * 32)  # whole hash words
    if changes.get("split", "words") != "words":
        changes.setdefault("split_apostrophes", False)
    return replace(DEFAULT_PROJECTION, **changes)


def default_config(
    task: Task,
    *,
    labels: Sequence[str] = (),
    intents: Sequence[str] = (),
    slots: Sequence[str] = (),
    multi_label: bool = False,
    projection: Mapping[str, Any] | None = None,
    **shape: Any,
) -> PQRNNConfig:
    """The shape that is trained unless another is given.

    About 2 million weights to parse or tag, 650,000 to classify.

    Args:
        task: ``"parse"``, ``"classify"`` or ``"tag"``.
        labels: of ``"classify"``.
        intents: of ``"parse"``.
        slots: tags of ``"parse"`` and ``"tag"``.
        multi_label: of ``"classify"``.
        projection: fields of :class:`ProjectionConfig` that are to differ from the default.
        **shape: fields of :class:`PQRNNConfig` that are to differ from the default.

    Raises:
        ValueError: Unknown task, a value out of range, or names that do not fit the task.
        TypeError: Unknown field, or a value of the wrong type.
    """
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
    by_task = (
        CLASSIFY_SHAPE if task == "classify" else {"crf": True, "slot_context": task == "parse"}
    )
    return PQRNNConfig(
        task="classification" if task == "classify" else "parsing",
        projection=default_projection(projection or {}),
        labels=tuple(labels),
        intents=tuple(intents),
        slots=tuple(slots),
        multi_label=multi_label,
        **{**DEFAULT_SHAPE, **by_task, **shape},
    )
