r"""Train a parser, a classifier or a tagger, and save it for inference.

    pqrnn-native train --task parse --train mtop:DIR --languages en,de --out run/
    pqrnn-native train --train csv:rows.csv --out run/

Data are named kind:path, for example mtop, massive, snips, csv or jsonl. A run that was cut goes on
where it was when the same command is given again. What is left out follows from the data.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Any

from .._optional import require
from ..train.settings import (
    CLASSIFY_SHAPE,
    DEFAULT_PROJECTION,
    DEFAULT_SHAPE,
    TASKS,
    TrainSettings,
)

# Options that set a field of ProjectionConfig or PQRNNConfig: name, type, meaning.
_PROJECTION = (
    ("feature_size", int, "ternary features of a token"),
    ("ngram_size", int, "how many of them come from character n-grams"),
    ("token_hashes", int, "non-zero features of a whole token; 0: half of all"),
    ("ngram_hashes", int, "non-zero features of an n-gram; 0: 32 of every 512"),
    ("split", str, "what separates tokens: words, space or codepoints"),
)
_MODEL = (
    ("bottleneck_size", int, "width of the dense bottleneck"),
    ("state_size", int, "QRNN state per direction"),
    ("kernel_size", int, "tokens a gate sees"),
    ("num_layers", int, "stacked QRNN layers"),
    ("zoneout", float, "probability of keeping a state in training"),
    ("attention_heads", int, "heads of the attention pooling"),
)

_SWITCHES = (
    ("skip", "pool the bottleneck's output beside the last layer's"),
    ("slot_context", "let the whole text weigh in on each token's tag"),
    ("crf", "learn which tag follows which"),
)

# Options that set a field of TrainSettings.
_TRAINING = (
    ("epochs", float, "passes over the rows"),
    ("batch_size", int, "rows a step, of each process"),
    ("learning_rate", float, "peak of warm-up and cosine decay"),
    ("warmup", float, "share of the steps that warm up"),
    ("weight_decay", float, "AdamW's, on matrices"),
    ("clip", float, "largest norm of the gradient"),
    ("ema", float, "decay of the averaged weights; 0: none"),
    ("dropout", float, "after the bottleneck and each layer"),
    ("token_dropout", float, "probability of hiding a token"),
    ("distortion", float, "probability of distorting a token's letters"),
    ("parallel", float, "probability of showing a text in another language of the data"),
    ("recombine", float, "probability of giving a text all slot values of another of its intent"),
    ("slot_exchange", float, "probability of giving slots of a text the values of others"),
    ("label_smoothing", float, "of intents, labels and tags"),
    ("slot_weight", float, "weight of the tags' loss beside the intent's"),
    ("soft_weight", float, "weight of soft labels beside gold ones"),
    ("temperature", float, "softens both sides of soft labels"),
    ("max_tokens", int, "tokens kept of a text in training; 0: all"),
    ("patience", int, "evaluations without a better one before stopping; 0: never stop"),
    ("evaluate_every", int, "steps between evaluations and checkpoints"),
    ("seed", int, "of everything random"),
    ("threads", int, "of torch; 0: its own choice"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", choices=TASKS, help="default: what the data are for")
    parser.add_argument(
        "--train", action="append", required=True, metavar="KIND:PATH", help="may be repeated"
    )
    parser.add_argument(
        "--dev",
        action="append",
        metavar="KIND:PATH",
        help="chooses the best model (default: the dev split of --train, else a tenth of it)",
    )
    parser.add_argument(
        "--test", action="append", metavar="KIND:PATH", help="evaluated once, at the end"
    )
    parser.add_argument("--languages", metavar="en,de", help="default: all")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder")
    parser.add_argument(
        "--init", metavar="MODEL", help="to start from: a file, or an embedded model's name"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "int8"),
        help="arithmetic: int8 trains with 8 bits in the loop (default: float32)",
    )
    parser.add_argument(
        "--soft-labels", metavar="FILE", help="what a teacher says of training texts, to be learned"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "int8"),
        default="float32",
        help="storage of the saved weights (default: float32)",
    )
    parser.add_argument(
        "--device", metavar="NAME", help="of torch, e.g. cpu (default: a GPU if there is one)"
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        choices=("pqrnn", "lstm", "transformer"),
        default="pqrnn",
        help="the latter two are rivals, for comparison only (default: pqrnn)",
    )
    model.add_argument(
        "--features",
        choices=("projection", "word"),
        default="projection",
        help="what a rival reads (default: projection)",
    )
    for name, kind, meaning in (*_PROJECTION, *_MODEL):
        default = getattr(DEFAULT_PROJECTION, name, DEFAULT_SHAPE.get(name))
        smaller = f", {CLASSIFY_SHAPE[name]} to classify" if name in CLASSIFY_SHAPE else ""
        own = "" if default is None else f" (default: {default}{smaller})"
        model.add_argument(_flag(name), type=kind, metavar="N", help=meaning + own)
    for name, meaning in _SWITCHES:
        model.add_argument(_flag(name), action=argparse.BooleanOptionalAction, help=meaning)
    training = parser.add_argument_group("training")
    defaults = TrainSettings()
    for name, kind, meaning in _TRAINING:
        value = getattr(defaults, name)
        own = f"default: {value}"
        if name in ("epochs", "batch_size", "learning_rate", "dropout", "evaluate_every"):
            own = "default: follows from the task and the data"
        training.add_argument(_flag(name), type=kind, metavar="N", help=f"{meaning} ({own})")
    training.add_argument(
        "--paraphrases",
        metavar="jsonl:FILE",
        help="other wordings of training texts, a row each: of (the original), text and slots",
    )
    training.add_argument(
        "--paraphrase-share",
        type=float,
        metavar="N",
        help="probability of showing one of a text's paraphrases instead (default: 0.5)",
    )
    training.add_argument(
        "--bfloat16",
        action=argparse.BooleanOptionalAction,
        help="matrix products in bfloat16 (default: where there are instructions for them)",
    )


def run(options: argparse.Namespace) -> None:
    require("torch", extra="train")
    from ..train import fitting
    from ..train.augment import Paraphrases
    from ..train.sources import skipped_lines

    languages = options.languages.split(",") if options.languages else None
    augment = []
    share = options.paraphrase_share
    if options.paraphrases is not None:
        given = {} if share is None else {"share": share}
        augment.append(Paraphrases(options.paraphrases, **given))
        for line in skipped_lines(augment[0].skipped):
            _say(line)
    elif share is not None:
        raise ValueError(f"--paraphrase-share needs --paraphrases, got {share} alone")
    result = fitting.fit(
        options.train,
        options.dev,
        out=options.out,
        task=options.task,
        test=options.test,
        languages=languages,
        model=options.model,
        features=options.features,
        config=_shape(options),
        settings=TrainSettings(**_given(options, [*(name for name, *_ in _TRAINING), "bfloat16"])),
        init=options.init,
        precision=options.precision,
        soft_labels=options.soft_labels,
        dtype=options.dtype,
        device=options.device,
        augment=augment,
        say=_say,
    )
    print(result.dev.format())
    if result.test is not None:
        print("test")
        print(result.test.format())
    print(result.path)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _given(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _shape(options: argparse.Namespace) -> dict[str, Any]:
    shape = _given(options, [name for name, *_ in (*_MODEL, *_SWITCHES)])
    projection = _given(options, [name for name, *_ in _PROJECTION])
    return shape | ({"projection": projection} if projection else {})
