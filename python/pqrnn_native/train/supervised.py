"""Supervised training: the loss, one step, and the loop over steps."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ..tags import TagSet
from .batches import count, endless
from .crf import crf_loss
from .learner import Learner, Logits
from .losses import soft_binary_cross_entropy, soft_cross_entropy
from .optim import rate, seed_step, set_rate
from .processes import Processes
from .rows import IGNORED, RowSource
from .run_folder import Bar, RunFolder, progress_bar
from .settings import TrainSettings
from .soft_labels import SoftTargets

Evaluate = Callable[[], tuple[float, Mapping[str, float]]]
Keep = Callable[[Mapping[str, Any]], None]

_CHECKPOINT_SECONDS = 180.0  # between checkpoints, where evaluations are rarer
_LEAST = 2  # rows of a batch, since batch norm needs some


class GoldTags(NamedTuple):
    """Tags of a batch.

    Attributes:
        numbers: int64 ``[tokens]``, :data:`.rows.IGNORED` for marks.
        offsets: int64 ``[n + 1]``; text s has the tokens ``offsets[s]:offsets[s + 1]``.
        tag_set: what they stand for.
    """

    numbers: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    tag_set: TagSet


def losses(
    logits: Logits,
    sentence: npt.NDArray[Any] | None,
    tags: GoldTags | None,
    *,
    smoothing: float,
    rows: int,
    tokens: int,
) -> dict[str, Tensor]:
    """The parts of the loss: cross entropies summed over this batch, divided by given counts.

    Args:
        logits: of the batch.
        sentence: its intents or labels, see :class:`.rows.TrainingRows`; with several labels the
            cross entropy is the mean over labels of the binary ones.
        tags: of its tokens. Where the model has transitions, the loss is the negative log
            likelihood of the texts' sequences, else the cross entropy of each token.
        smoothing: label smoothing of cross entropies.
        rows, tokens: what to divide by: counts of the whole batch, of which another process may
            have the rest.
    """
    parts: dict[str, Tensor] = {}
    if logits.sentence is not None and sentence is not None:
        gold = torch.from_numpy(sentence).to(logits.sentence.device)
        if gold.is_floating_point():
            soft = gold * (1 - smoothing) + smoothing / 2
            total = binary_cross_entropy_with_logits(logits.sentence, soft, reduction="sum")
            parts["loss"] = total / (rows * gold.shape[1])
        else:
            total = cross_entropy(logits.sentence, gold, reduction="sum", label_smoothing=smoothing)
            parts["intent_loss" if tags is not None else "loss"] = total / rows
    if logits.tags is not None and tags is not None:
        device = logits.tags.device
        gold = torch.from_numpy(tags.numbers).to(device)
        if logits.transitions is None:
            total = cross_entropy(
                logits.tags, gold, reduction="sum", label_smoothing=smoothing, ignore_index=IGNORED
            )
        else:
            offsets, allowed, starts = (
                torch.from_numpy(part).to(device)
                for part in (tags.offsets, tags.tag_set.allowed, tags.tag_set.starts)
            )
            total = crf_loss(logits.tags, offsets, gold, logits.transitions, allowed, starts)
        parts["slot_loss" if sentence is not None else "loss"] = total / max(1, tokens)
    return parts


def soft_losses(
    logits: Logits, targets: SoftTargets, *, temperature: float, rows: int, tokens: int
) -> dict[str, Tensor]:
    """The same with what a teacher says: cross entropies summed over this batch, divided by counts.

    Of tags they are those of each token by itself, whatever may follow what; of several labels the
    mean over labels of the binary ones.

    Args:
        logits: of the batch.
        targets: of the batch.
        temperature: as for :func:`.losses.soft_cross_entropy`.
        rows, tokens: as for :func:`losses`.

    Returns:
        ``soft_intent_loss`` and ``soft_slot_loss`` of a parser, else ``soft_loss``.
    """
    parts: dict[str, Tensor] = {}
    both = logits.sentence is not None and logits.tags is not None
    if logits.sentence is not None:
        own = logits.sentence
        shares = torch.from_numpy(targets.sentence).to(own.device)
        if targets.known is None:
            total = soft_cross_entropy(own, shares, temperature)
        else:
            known = torch.from_numpy(targets.known).to(own.device)
            total = soft_binary_cross_entropy(own[known], shares[known], temperature)
            total = total / own.shape[1]
        parts["soft_intent_loss" if both else "soft_loss"] = total / rows
    if logits.tags is not None:
        shares = torch.from_numpy(targets.tags).to(logits.tags.device)
        total = soft_cross_entropy(logits.tags, shares, temperature)
        parts["soft_slot_loss" if both else "soft_loss"] = total / max(1, tokens)
    return parts


def train_step(
    learner: Learner,
    source: RowSource,
    rows: npt.NDArray[np.int64],
    step: int,
    processes: Processes,
) -> dict[str, float]:
    """One step on a whole batch, of which this process takes its share.

    Returns:
        The parts of the loss of the whole batch.

    Raises:
        FloatingPointError: The loss is not finite.
    """
    settings = learner.settings
    seed_step(settings.seed, step, processes.rank)
    seed = int(np.random.default_rng([settings.seed, step]).integers(2**63))
    whole = source.batch(rows, seed)
    batch = whole
    if processes.world > 1:
        batch = whole.take(np.arange(processes.rank, len(rows), processes.world))
    logits = learner.train(batch.texts, seed)
    tags = None
    tokens = int(whole.lengths.sum())
    if source.tag_set is not None:
        assert batch.tags is not None
        assert whole.tags is not None
        tags = GoldTags(batch.tags, batch.starts, source.tag_set)
        tokens = int((whole.tags != IGNORED).sum())
    parts = losses(
        logits,
        batch.sentence,
        tags,
        smoothing=settings.label_smoothing,
        rows=len(rows),
        tokens=tokens,
    )
    if source.soft is not None:
        targets = source.soft.targets(batch.texts, batch.lengths, learner.config)
        parts |= soft_losses(
            logits, targets, temperature=settings.temperature, rows=len(rows), tokens=tokens
        )
    weights = {
        "slot_loss": settings.slot_weight,
        "soft_loss": settings.soft_weight,
        "soft_intent_loss": settings.soft_weight,
        "soft_slot_loss": settings.soft_weight * settings.slot_weight,
    }
    total = torch.stack([weights.get(name, 1.0) * value for name, value in parts.items()]).sum()
    learner.optimizer.zero_grad(set_to_none=True)
    # DistributedDataParallel averages over processes what is a sum here.
    (total * processes.world).backward()
    torch.nn.utils.clip_grad_norm_(learner.averaged.model.parameters(), settings.clip)
    learner.optimizer.step()
    learner.averaged.update(step)
    found = dict(zip(parts, processes.sum(torch.stack(list(parts.values()))), strict=True))
    if not all(math.isfinite(value) for value in found.values()):
        raise FloatingPointError(f"the loss is {found} at step {step}; lower learning_rate")
    return found


def train(
    learner: Learner,
    source: RowSource,
    run: RunFolder,
    evaluate: Evaluate,
    keep: Keep,
    *,
    processes: Processes,
    progress: bool | None,
    say: Callable[[str], object],
) -> None:
    """Train to the last epoch or until it no longer gets better, from a checkpoint if there is one.

    Every evaluation is logged and followed by a checkpoint; where they are minutes apart, there are
    more checkpoints.

    Args:
        learner: what is trained.
        source: on what.
        run: where its log and checkpoints go.
        evaluate: the score to be made large, and other figures to log.
        keep: called with the row for the log after the best evaluation so far, to save the model.
        processes: this process's place.
        progress: show a bar; None shows one on a terminal.
        say: called with a line about what is trained and with every row of the log.
    """
    settings, data = learner.settings, source.rows
    size = settings.batch_size * processes.world
    least = max(_LEAST, processes.world)
    steps = total_steps(len(data), settings, processes)
    state = run.load_checkpoint() or {"step": 0, "waited": 0, "stopped": False}
    first, waited, stopped = int(state["step"]), int(state["waited"]), bool(state["stopped"])
    if "learner" in state:
        learner.load(state["learner"])
    if stopped or first >= steps:
        return
    weights = sum(parameter.numel() for parameter in learner.averaged.model.parameters())
    say(f"{len(data)} rows, {weights:,} weights, {steps} steps of {size} rows, from step {first}")
    show = progress if processes.first else False
    meter = _Meter(state.get("meter"))

    def save(step: int) -> None:
        values = {"step": step, "waited": waited, "stopped": stopped, "meter": meter.state()}
        run.save_checkpoint({**values, "learner": learner.state()})

    with progress_bar("train", total=steps, unit="step", show=show) as bar:
        bar.at(first, steps)
        for step, rows in endless(data.lengths, size, settings.seed, first, steps, least=least):
            warmup = round(settings.warmup * steps)
            set_rate(learner.optimizer, settings.learning_rate * rate(step, steps, warmup))
            parts = train_step(learner, source, rows, step, processes)
            meter.add(parts, int(data.lengths[rows].sum()))
            _show(bar, step + 1, steps, parts, meter, run)
            if (step + 1) % settings.evaluate_every and step + 1 < steps:
                if processes.first and run.seconds_unsaved() > _CHECKPOINT_SECONDS:
                    save(step + 1)
                continue
            if processes.first:
                score, scores = evaluate()
                rate_now = round(learner.optimizer.param_groups[0]["lr"], 8)
                figures = {"learning_rate": rate_now, **meter.means(), **scores}
                better = run.keep_best(score, partial(_keep, keep, step + 1, figures))
                waited = 0 if better else waited + 1
                row = {"step": step + 1, **meter.clock(run), **figures}
                run.log(row)
                say(json.dumps(row))
            stopped = processes.agree(bool(settings.patience) and waited >= settings.patience)
            meter = _Meter()
            if processes.first:
                save(step + 1)
            if stopped:
                break


def _keep(keep: Keep, step: int, figures: Mapping[str, float], _path: Path) -> None:
    keep({"step": step, **figures})


def total_steps(rows: int, settings: TrainSettings, processes: Processes) -> int:
    """Steps of a whole run.

    Raises:
        ValueError: Too few rows for a batch.
    """
    size = settings.batch_size * processes.world
    each = count(rows, size, least=max(_LEAST, processes.world))
    if not each:
        raise ValueError(f"{rows} rows do not make a batch for {processes.world} processes")
    return max(1, round(settings.epochs * each))


class _Meter:
    """Means of the losses, and tokens a second, since the last evaluation."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        state = state or {"sums": {}, "steps": 0, "tokens": 0, "seconds": 0.0}
        self.sums: dict[str, float] = dict(state["sums"])
        self.steps, self.tokens = int(state["steps"]), int(state["tokens"])
        self.started = time.monotonic() - float(state["seconds"])

    def add(self, parts: Mapping[str, float], tokens: int) -> None:
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.steps += 1
        self.tokens += tokens

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs of it."""
        seconds = time.monotonic() - self.started
        return {
            "sums": self.sums, "steps": self.steps, "tokens": self.tokens, "seconds": seconds
        }  # fmt: skip

    def speed(self) -> float:
        return self.tokens / max(1e-9, time.monotonic() - self.started)

    def clock(self, run: RunFolder) -> dict[str, float]:
        """What depends on the machine, and so is not stored with a model."""
        return {"seconds": round(run.seconds(), 1), "tokens_per_second": round(self.speed())}

    def means(self) -> dict[str, float]:
        return {name: round(value / self.steps, 5) for name, value in self.sums.items()}


def _show(
    bar: Bar, done: int, steps: int, parts: Mapping[str, float], meter: _Meter, run: RunFolder
) -> None:
    shown = {**parts, **run.best_shown(), "tokens/s": meter.speed()}
    bar.at(done, steps, **shown)
