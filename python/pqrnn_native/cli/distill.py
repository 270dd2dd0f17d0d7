"""Train a sentence encoder on the vectors of a teacher, and save it for inference.

    pqrnn-native distill --teacher minilm --text text:unlabelled/ --languages en \\
        --eval sts:stsb/dev.csv --cache teacher-cache/ --out run/

A run that was cut goes on where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .._optional import require
from ..config import PQRNNConfig, ProjectionConfig

if TYPE_CHECKING:
    from ..train.distill import DistillSettings

# Options that set a field of PQRNNConfig or ProjectionConfig: name, type, meaning.
_MODEL = (
    ("feature_size", int, "ternary features of a token"),
    ("bottleneck_size", int, "width of the dense bottleneck"),
    ("state_size", int, "QRNN state per direction"),
    ("kernel_size", int, "tokens a gate sees"),
    ("num_layers", int, "stacked QRNN layers"),
    ("zoneout", float, "probability of keeping a state in training"),
    ("attention_heads", int, "heads of the attention pooling"),
    ("output_size", int, "length of a sentence vector"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--teacher", default="minilm", metavar="NAME",
                        help="minilm, or hf:FOLDER with a sentence-transformers model")
    parser.add_argument("--text", action="append", required=True, metavar="text:PATH",
                        help="file of sentences, or folder of .txt and .txt.gz files; may be repeated")
    parser.add_argument("--languages", metavar="en,de", help="of a folder, files of these languages")
    parser.add_argument("--limit", type=int, metavar="N", help="first N lines of each file")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder")
    parser.add_argument("--cache", metavar="DIR", help="teacher vectors (default: RUN/teacher)")
    parser.add_argument("--eval", metavar="sts:FILE", dest="evaluation",
                        help="CSV of sentence1,sentence2,score; the best evaluation is kept")
    parser.add_argument("--dtype", choices=("float32", "float16", "int8"), default="int8",
                        help="storage of the saved weights (default: int8)")
    model = parser.add_argument_group("model")
    for name, kind, meaning in _MODEL:
        model.add_argument(_flag(name), type=kind, metavar="N", help=meaning)
    model.add_argument("--skip", action="store_true",
                       help="pool the bottleneck's output beside the last layer's")
    training = parser.add_argument_group("training")
    for name, kind in (
        ("epochs", float), ("batch_size", int), ("learning_rate", float), ("warmup_steps", int),
        ("weight_decay", float), ("clip", float), ("ema", float), ("cosine", float),
        ("relational", float), ("ranking", float), ("temperature", float), ("max_tokens", int),
        ("seed", int), ("evaluate_every", int), ("threads", int),
    ):  # fmt: skip
        training.add_argument(_flag(name), type=kind, metavar="N")
    training.add_argument("--float32", action="store_true", help="no bfloat16 matrix products")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def run(options: argparse.Namespace) -> None:
    require("torch", extra="train")
    from ..train import data
    from ..train.distill import DistillSettings, distill
    from ..train.teachers import load_teacher

    config = _config(options)
    settings = _settings(options, DistillSettings)
    evaluation = data.read_pairs(options.evaluation) if options.evaluation else None
    languages = options.languages.split(",") if options.languages else None
    texts = data.read_sentences(options.text, languages, limit=options.limit)
    path = distill(
        config,
        load_teacher(options.teacher),
        texts,
        options.out,
        cache=options.cache or f"{options.out}/teacher",
        settings=settings,
        evaluation=evaluation,
        dtype=options.dtype,
    )
    print(path)


def _given(options: argparse.Namespace, names: set[str]) -> dict[str, Any]:
    return {n: v for n in names if (v := getattr(options, n, None)) is not None}


def _config(options: argparse.Namespace) -> PQRNNConfig:
    given = _given(options, {name for name, _, _ in _MODEL})
    size = given.pop("feature_size", None)
    projection = ProjectionConfig() if size is None else ProjectionConfig(feature_size=size)
    return PQRNNConfig(projection=projection, skip=options.skip, **given)


def _settings(options: argparse.Namespace, kind: type[DistillSettings]) -> DistillSettings:
    given = _given(options, {field.name for field in fields(kind)} - {"bfloat16"})
    return kind(**given, bfloat16=not options.float32)
