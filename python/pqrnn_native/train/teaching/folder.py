"""A fine-tuned teacher on disk: the encoder's own files, its heads, and what they are about."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from ..._optional import require
from ...checkpoint import write_whole
from ...config import PQRNNConfig
from ..settings import Task, default_config
from .model import TeacherModel, quiet, read_encoder

__all__ = ["FACTS", "TeacherFolder", "describe", "read_folder", "save_folder"]

FACTS, _HEADS = "teacher.json", "heads.safetensors"
_FORMAT, _VERSION = "pqrnn-teacher", 1


class TeacherFolder(NamedTuple):
    """What is in a folder.

    Attributes:
        model: in float32 on the CPU.
        tokenizer: of transformers.
        task: what it was trained for.
        config: names its intents, labels and tags, and has the projection that splits texts into
            tokens; its shape means nothing.
        max_length: subwords of a text.
        result: figures of the evaluation that chose these weights, metrics in per cent.
    """

    model: TeacherModel
    tokenizer: Any
    task: Task
    config: PQRNNConfig
    max_length: int
    result: dict[str, Any]


def describe(task: Task, config: PQRNNConfig, max_length: int) -> dict[str, Any]:
    """What ``teacher.json`` says besides the result."""
    return {
        "format": _FORMAT,
        "format_version": _VERSION,
        "task": task,
        "labels": config.labels,
        "multi_label": config.multi_label,
        "intents": config.intents,
        "slots": config.slots,
        "intent_tags": config.intent_tags,
        "projection": asdict(config.projection),
        "max_length": max_length,
    }


def save_folder(
    folder: str | Path,
    model: TeacherModel,
    tokenizer: Any,
    facts: Mapping[str, Any],
    result: Mapping[str, Any],
) -> None:
    """Write or replace a teacher; while its files are being exchanged, the folder has none.

    Args:
        folder: made when absent; other files in it stay.
        model: whose weights are written.
        tokenizer: of transformers.
        facts: of :func:`describe`.
        result: figures to be kept with it.
    """
    heads = require("safetensors.torch", extra="train").save(model.heads.state_dict())
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".teacher-new"
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    temporary.mkdir()
    try:
        with quiet():
            model.encoder.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
        (temporary / _HEADS).write_bytes(heads)
        (folder / FACTS).unlink(missing_ok=True)
        for path in sorted(temporary.rglob("*")):
            target = folder / path.relative_to(temporary)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            else:
                os.replace(path, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    everything = {**facts, "result": dict(result)}
    write_whole(folder / FACTS, [json.dumps(everything, indent=1, ensure_ascii=False).encode()])


def read_folder(folder: str | Path) -> TeacherFolder:
    """The inverse of :func:`save_folder`.

    Raises:
        FileNotFoundError: There is no teacher.
        ValueError: It is damaged or of an unknown format version.
    """
    folder = Path(folder)
    path = folder / FACTS
    if not path.is_file():
        raise FileNotFoundError(f"{str(folder)!r} holds no {FACTS} of a finished teacher")
    try:
        facts = json.loads(path.read_text("utf-8"))
        if (facts["format"], facts["format_version"]) != (_FORMAT, _VERSION):
            raise ValueError(f"format {facts['format']!r}, version {facts['format_version']!r}")
        config = default_config(
            facts["task"],
            labels=facts["labels"],
            intents=facts["intents"],
            slots=facts["slots"],
            multi_label=facts["multi_label"],
            intent_tags=tuple(map(tuple, facts["intent_tags"])),
            projection=facts["projection"],
            crf=False,
        )
        max_length, result = int(facts["max_length"]), dict(facts["result"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{str(path)!r} is not of a teacher: {error!r}") from None
    encoder, tokenizer = read_encoder(folder)
    model = TeacherModel(encoder, config)
    try:
        heads = (folder / _HEADS).read_bytes()
        model.heads.load_state_dict(require("safetensors.torch", extra="train").load(heads))
    except OSError:
        raise
    except Exception as error:  # of safetensors or torch, for a file of other heads
        raise ValueError(f"{str(folder / _HEADS)!r} does not fit {FACTS}: {error}") from None
    return TeacherFolder(model, tokenizer, facts["task"], config, max_length, result)
