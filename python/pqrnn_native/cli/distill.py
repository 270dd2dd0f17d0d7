r"""Train a sentence encoder on the vectors of a teacher, and save it for inference.

    pqrnn-native distill --teacher minilm --text text:unlabelled/ --languages en \
        --eval sts:stsb/dev.csv --cache teacher-cache/ --out run/

A run that was cut goes on where it was when the same command is given again. Left to its
defaults, the student has the shape of the embedded model.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .._optional import require
from ..config import PQRNNConfig, ProjectionConfig

if TYPE_CHECKING:
    from ..train.distill import DistillSettings

# The shape of the embedded model. A wide projection under a narrow bottleneck: the number of words
# that a linear map can tell apart grows with the features, not with the bottleneck. A word has the
# same features with a full stop behind it.
_STUDENT: dict[str, Any] = {
    "feature_size": 8192,
    "ngram_size": 2048,
    "token_hashes": 8,
    "ngram_hashes": 2,
    "ngram_runs": False,
    "bottleneck_size": 320,
    "state_size": 128,
    "kernel_size": 2,
    "num_layers": 1,
    "zoneout": 0.0,
    "attention_heads": 4,
    "output_size": 256,
    "skip": True,
    "split_apostrophes": False,
}

# Options that set a field of PQRNNConfig or ProjectionConfig: name, type, meaning.
_MODEL = (
    ("feature_size", int, "ternary features of a token"),
    ("ngram_size", int, "how many of these are made of character n-grams"),
    ("token_hashes", int, "non-zero features of a whole token; 0: half of all"),
    ("ngram_hashes", int, "non-zero features of an n-gram; 0: 32 of every 512"),
    ("bottleneck_size", int, "width of the dense bottleneck"),
    ("state_size", int, "QRNN state per direction"),
    ("kernel_size", int, "tokens a gate sees"),
    ("num_layers", int, "stacked QRNN layers"),
    ("zoneout", float, "probability of keeping a state in training"),
    ("attention_heads", int, "heads of the attention pooling"),
    ("output_size", int, "length of a sentence vector"),
)

# Options that set a field of DistillSettings. Its defaults are not repeated here: that class needs
# torch, and --help must not.
_TRAINING = (
    ("epochs", float, "passes over the sentences"),
    ("batch_size", int, "sentences a step"),
    ("learning_rate", float, "peak of warm-up and cosine decay"),
    ("warmup_steps", int, "length of the warm-up"),
    ("weight_decay", float, "AdamW's, on matrices"),
    ("clip", float, "largest norm of the gradient"),
    ("ema", float, "decay of the averaged weights; 0: none"),
    ("cosine", float, "weight of the cosine loss"),
    ("relational", float, "weight of the relational loss"),
    ("ranking", float, "weight of the ranking loss"),
    ("temperature", float, "of the ranking loss"),
    ("max_tokens", int, "tokens kept of a text in training"),
    ("seed", int, "of everything random"),
    ("evaluate_every", int, "steps between evaluations and checkpoints"),
    ("threads", int, "of torch; 0: its own choice"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--teacher",
        action="append",
        metavar="NAME",
        help="minilm (the default), hf:FOLDER with a sentence-transformers model, onnx:FILE from "
        "texts to vectors, or vectors:FOLDER of a cache; may be repeated: their vectors are joined",
    )
    parser.add_argument(
        "--translations",
        metavar="tsv:FILE",
        help="further sentences; those of a line, with tabs between, say the same",
    )
    parser.add_argument(
        "--text",
        action="append",
        required=True,
        metavar="text:PATH",
        help="file of sentences, or folder of .txt and .txt.gz files; may be repeated",
    )
    parser.add_argument(
        "--languages", metavar="en,de", help="of a folder, files of these languages"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="first N lines of each file")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder")
    parser.add_argument("--cache", metavar="DIR", help="teacher vectors (default: RUN/teacher)")
    parser.add_argument(
        "--eval",
        metavar="sts:FILE",
        dest="evaluation",
        help="CSV of sentence1,sentence2,score; the best evaluation is kept",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "int8", "int4", "int2"),
        default="int8",
        help="storage of the saved weights (default: int8)",
    )
    parser.add_argument("--init", metavar="MODEL", help="model of the same shape to start from")
    model = parser.add_argument_group("model")
    for name, kind, meaning in _MODEL:
        model.add_argument(
            _flag(name), type=kind, metavar="N", default=_STUDENT[name],
            help=f"{meaning} (default: {_STUDENT[name]})",
        )  # fmt: skip
    model.add_argument(
        "--precision",
        choices=("float32", "int8"),
        default="float32",
        help="arithmetic: int8 trains with 8 bits in the loop (default: float32)",
    )
    model.add_argument(
        "--skip",
        action=argparse.BooleanOptionalAction,
        default=_STUDENT["skip"],
        help="pool the bottleneck's output beside the last layer's",
    )
    model.add_argument(
        "--ngram-runs",
        action=argparse.BooleanOptionalAction,
        default=_STUDENT["ngram_runs"],
        help="n-grams reach into tokens that follow without a gap",
    )
    model.add_argument(
        "--split-apostrophes",
        action=argparse.BooleanOptionalAction,
        default=_STUDENT["split_apostrophes"],
        help="apostrophes are tokens of their own",
    )
    training = parser.add_argument_group("training")
    for name, kind, meaning in _TRAINING:
        training.add_argument(_flag(name), type=kind, metavar="N", help=meaning)
    training.add_argument(
        "--center",
        action=argparse.BooleanOptionalAction,
        help="take each teacher's mean vector from its vectors",
    )
    training.add_argument(
        "--bottleneck-bits",
        type=int,
        choices=(2,),
        help="learn with bottleneck weights that fit 2 bits without loss",
    )
    training.add_argument(
        "--bfloat16",
        action=argparse.BooleanOptionalAction,
        help="matrix products in bfloat16 (default: where there are instructions for them)",
    )


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
        [load_teacher(name) for name in options.teacher or ["minilm"]],
        texts,
        options.out,
        cache=options.cache or f"{options.out}/teacher",
        translations=data.read_translations(options.translations) if options.translations else (),
        init=options.init,
        settings=settings,
        evaluation=evaluation,
        dtype=options.dtype,
    )
    print(path)


def _config(options: argparse.Namespace) -> PQRNNConfig:
    given = {name: getattr(options, name) for name in _STUDENT}
    names = (
        "feature_size", "ngram_size", "token_hashes", "ngram_hashes", "ngram_runs",
        "split_apostrophes",
    )  # fmt: skip
    projection = ProjectionConfig(**{name: given.pop(name) for name in names})
    return PQRNNConfig(projection=projection, precision=options.precision, **given)


def _settings(options: argparse.Namespace, kind: type[DistillSettings]) -> DistillSettings:
    names = [*(name for name, *_ in _TRAINING), "center", "bottleneck_bits", "bfloat16"]
    return kind(**{n: v for n in names if (v := getattr(options, n)) is not None})
