r"""Make a trained model ready for use: in 8 bits, or with smaller floats.

    pqrnn-native export --model run/ --calibrate mtop:DIR --out model.safetensors
    pqrnn-native export --model run/ --precision float16 --out model.safetensors

8 bits need some texts of the kind that the model is for, to see how large activations become.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import tempfile
from typing import Any

from ..checkpoint import StorageType, load_tensors, read_metadata, save_model
from ..quantise import calibrate
from ..train.data import read_sentences
from ..train.evaluate import evaluate, load_trained, task_of
from ..train.readers import read_examples
from ..train.sources import examples_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="RUN", help="run folder or model file")
    parser.add_argument("--out", required=True, metavar="FILE", help="model file to write")
    parser.add_argument(
        "--precision",
        choices=("int8", "float16", "float32"),
        default="int8",
        help="8-bit arithmetic, or float32 arithmetic on weights stored so (default: int8)",
    )
    parser.add_argument(
        "--bottleneck-bits",
        type=int,
        choices=(2, 4, 8),
        default=8,
        help="of each weight of an 8-bit model's bottleneck in the file (default: 8)",
    )
    parser.add_argument(
        "--calibrate",
        action="append",
        metavar="KIND:PATH",
        help="texts for 8 bits: text:PATH, or a labelled set's training texts; may be repeated",
    )
    parser.add_argument(
        "--texts", type=int, default=2000, metavar="N", help="how many of them (default: 2000)"
    )
    parser.add_argument(
        "--evaluate",
        action="append",
        metavar="KIND:PATH",
        help="labelled set whose dev split is measured before and after, and noted in the file",
    )
    parser.add_argument("--languages", metavar="en,de", help="of named sets; default: all")


def run(options: argparse.Namespace) -> None:
    path = options.model
    if os.path.isdir(path):
        path = os.path.join(path, "model.safetensors")
    languages = options.languages.split(",") if options.languages else None
    words = ["pqrnn-native", "export", "--precision", options.precision]
    bits = options.bottleneck_bits
    if bits != 8:
        if options.precision != "int8":
            raise ValueError(
                f"--bottleneck-bits {bits} needs --precision int8, got {options.precision}"
            )
        words += ["--bottleneck-bits", str(bits)]
    for name in ("calibrate", "evaluate"):
        for spec in getattr(options, name) or ():
            words += [f"--{name}", spec.partition(":")[0]]  # a path says nothing elsewhere
    info: dict[str, Any] = {"command": shlex.join(words)}
    metadata = read_metadata(path)
    if metadata.config.precision == "int8":
        raise ValueError(f"--model must be in float32, got {path!r}, which is in 8 bits")
    config, tensors = metadata.config, dict(load_tensors(path))
    dtype: StorageType = {2: "int2", 4: "int4"}.get(bits, options.precision)
    if options.precision == "int8":
        texts = _texts(options.calibrate or [], languages, options.texts)
        info["texts"] = len(texts)
        config = dataclasses.replace(config, precision="int8")
        tensors |= calibrate(path, texts)
    if options.evaluate:
        with tempfile.TemporaryDirectory() as folder:
            trial = os.path.join(folder, "model.safetensors")
            save_model(trial, config, tensors, dtype=dtype)
            info["before"] = _scores(path, options.evaluate, languages)
            info["after"] = _scores(trial, options.evaluate, languages)
        for name, value in info["before"].items():
            print(f"{name:20} {value:8.3f} -> {info['after'][name]:8.3f}")
    save_model(options.out, config, tensors, {**metadata.info, "export": info}, dtype)
    print(f"{options.out}: {os.path.getsize(options.out)} bytes")


def _scores(path: str, specs: list[str], languages: list[str] | None) -> dict[str, float]:
    """Figures of the dev split, in per cent."""
    model = load_trained(path)
    examples = examples_of(specs, "dev", task_of(model), languages)
    report = evaluate(model, examples, resamples=0)
    return {name: round(100 * score.value, 3) for name, score in report.average.items()}


def _texts(specs: list[str], languages: list[str] | None, count: int) -> list[str]:
    """At most `count` texts, evenly from all that are named."""
    if count < 1:
        raise ValueError(f"--texts must be at least 1, got {count}")
    if not specs:
        raise ValueError("--calibrate must name texts for precision int8, got none")
    texts: list[str] = []
    for spec in specs:
        if spec.startswith("text:"):
            texts += read_sentences([spec], languages)
        else:
            texts += [row.text for row in read_examples(spec, "train", languages)]
    return texts[:: max(1, -(-len(texts) // count))]
