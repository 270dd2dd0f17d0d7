"""Fine-tuning an encoder on labelled examples: one call, one folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ...config import PQRNNConfig
from .. import supervised
from ..augment import augmentations
from ..devices import bfloat16_pays, find_device
from ..fitting import count_parameters, data_config, figures_of, with_intent_tags
from ..graph import Answers
from ..learner import Learner, Predictor
from ..metrics import Report
from ..processes import Processes
from ..readers import Examples
from ..reports import report
from ..rows import RowSource
from ..run_folder import RunFolder
from ..saving import write_report
from ..settings import TEACHER_HEADS_RATE, TEACHER_SETTINGS, Task, TrainSettings
from ..sources import Source, dev_of, digest_of, examples_of, skipped_lines
from .folder import describe, save_folder
from .model import TeacherModel, freeze_lower, keep_lower, longest_text, read_encoder
from .subwords import SubwordFeaturizer
from .teacher import FineTunedTeacher

__all__ = ["TuneResult", "fine_tune"]

_TEXTS_AT_ONCE = 64  # of an evaluation


@dataclass(frozen=True)
class TuneResult:
    """What a finished teacher is like.

    Attributes:
        folder: for :class:`.teacher.FineTunedTeacher`.
        settings: as they were resolved.
        dev: metrics on the dev examples.
        parameters: weights and biases.
    """

    folder: Path
    settings: TrainSettings
    dev: Report
    parameters: int


def fine_tune(
    encoder: str | Path,
    train: Source,
    dev: Source | None = None,
    *,
    out: str | Path,
    task: Task | None = None,
    languages: Sequence[str] | None = None,
    projection: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    layers: int = 0,
    freeze_layers: int = 0,
    freeze_embeddings: bool = False,
    max_length: int = 128,
    device: str | None = None,
    progress: bool | None = None,
    say: Callable[[str], object] | None = None,
) -> TuneResult:
    """Make a teacher of an encoder of transformers, and save the best one by its dev score.

    A run that was cut goes on where it was, when it is called again with the same arguments; on a
    CPU, the same arguments give the same weights. It is for one process, on a CPU or one GPU.

    Args:
        encoder: folder on disk with a model that ``AutoModel`` reads, and a fast tokenizer.
        train, dev, task, languages: as for :func:`pqrnn_native.train.fit`.
        out: folder of the teacher; ``out/run`` has the log and, until the end, the checkpoint.
        projection: fields of :class:`pqrnn_native.ProjectionConfig` that are to differ from the
            default: a student's tokens must be the teacher's. Begin and end marks count as none.
        settings: fields of :class:`pqrnn_native.train.TrainSettings` that are to differ from
            ``TEACHER_SETTINGS``. Nothing is distorted, and no token dropped.
        layers: of the encoder that are kept, from below; 0 keeps all.
        freeze_layers: how many of them stay as they are, from below, and the embeddings with
            them: what is not learned takes less than half of the time.
        freeze_embeddings: leave the embeddings of subwords as they are; of a multilingual encoder
            they are most of the weights.
        max_length: subwords kept of a text.
        device: of torch, for example ``"cpu"``; None: a GPU if there is one.
        progress: show a bar; None shows one on a terminal.
        say: called with a line of text about the data and about each evaluation.

    Raises:
        ValueError: Data or an encoder that are unusable, a folder of another run, or several
            processes.
        FileNotFoundError: There is no encoder, or a named data set is without the split.
        FloatingPointError: The loss is not finite.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(f"a teacher learns in one process, got {os.environ['WORLD_SIZE']}")
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1, got {max_length!r}")
    chosen = replace(TEACHER_SETTINGS, **settings or {})
    train_set = examples_of(train, "train", task, languages)
    task = train_set.task
    if dev is None:
        train_set, dev_set = dev_of(train, train_set, chosen.seed, languages)
    else:
        dev_set = examples_of(dev, "dev", task, languages)
    config = _names(train_set, projection or {})
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    place = find_device(device)
    if chosen.bfloat16 is None:
        chosen = replace(chosen, bfloat16=bfloat16_pays(place))
    chosen = chosen.resolve(len(train_set), 1, task)
    body, tokenizer = read_encoder(encoder)
    original = _digest(body)
    if layers:
        keep_lower(body, layers)
    if freeze_layers:
        freeze_lower(body, freeze_layers)
    if freeze_embeddings:
        body.get_input_embeddings().requires_grad_(False)
    max_length = longest_text(body, tokenizer, max_length)
    facts = describe(task, config, max_length)
    description = {
        **facts,
        "encoder": {"name": Path(encoder).name, "blake2b": original},
        "settings": asdict(chosen),
        "layers": layers,
        "freeze_layers": freeze_layers,
        "freeze_embeddings": freeze_embeddings,
        "device": place.type,
        "train": {"rows": len(train_set), "blake2b": digest_of(train_set)},
        "dev": {"rows": len(dev_set), "blake2b": digest_of(dev_set)},
    }
    run = RunFolder(Path(out) / "run", description)
    torch.manual_seed(chosen.seed)
    model = TeacherModel(body, config, chosen.dropout or 0.0)
    featurizer = SubwordFeaturizer(
        tokenizer, config.projection if config.slots else None, max_length, chosen.max_tokens
    )
    learner = Learner(
        model, featurizer, config, chosen, Processes(), place, {"heads": TEACHER_HEADS_RATE}
    )
    answers = Answers(dev_set.rows, config)
    say = say or _silence
    for line in skipped_lines(train_set.skipped):
        say(line)
    supervised.train(
        learner,
        RowSource(train_set.rows, config, chosen.max_tokens, augmentations(train_set.rows, chosen)),
        run,
        lambda: figures_of(dev_set, answers(_predictor(learner))),
        lambda figures: save_folder(out, learner.averaged.average, tokenizer, facts, figures),
        processes=Processes(),
        progress=progress,
        say=say,
    )
    teacher = FineTunedTeacher(out, device=device, batch_size=_TEXTS_AT_ONCE)
    dev_report = report(dev_set, answers(teacher.predictor))
    parameters = count_parameters(model)
    write_report(run, teacher.result, parameters, train_set, dev_report, None)
    # The weights are in the teacher's own files; the same call again finds nothing to do.
    steps = supervised.total_steps(len(train_set), chosen, Processes())
    run.save_checkpoint({"step": steps, "waited": 0, "stopped": True})
    return TuneResult(Path(out), chosen, dev_report, parameters)


def _predictor(learner: Learner) -> Predictor:
    """As a finished teacher answers, in bfloat16 where that pays."""
    return Predictor(
        learner.averaged.average, learner.featurizer, learner.device,
        batch_size=_TEXTS_AT_ONCE, bfloat16=bfloat16_pays(learner.device),
    )  # fmt: skip


def _names(train: Examples, projection: Mapping[str, Any]) -> PQRNNConfig:
    """The intents, labels and tags of examples, as a student of the same examples has them."""
    unmarked = {**projection, "bos": False, "eos": False}
    return with_intent_tags(data_config(train, {"projection": unmarked, "crf": False}), train)


def _digest(model: torch.nn.Module) -> str:
    """BLAKE2b-128 of a model's tensors, in hexadecimal."""
    state = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        state.update(name.encode())
        state.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return state.hexdigest()


def _silence(_line: str) -> None:
    pass
