r"""Measure a trained model on labelled data.

pqrnn-native evaluate --model run/ --data mtop:DIR --split test --languages en,de
"""

from __future__ import annotations

import argparse
import json
import sys

from ..train.evaluate import evaluate, load_trained, task_of
from ..train.sources import examples_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="RUN", help="run folder or model file")
    parser.add_argument(
        "--data", action="append", required=True, metavar="KIND:PATH", help="may be repeated"
    )
    parser.add_argument(
        "--split", choices=("train", "dev", "test"), default="dev", help="default: dev"
    )
    parser.add_argument("--languages", metavar="en,de", help="default: all")
    parser.add_argument("--threads", type=int, metavar="N", help="default: all available cores")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(options: argparse.Namespace) -> None:
    model = load_trained(options.model)
    languages = options.languages.split(",") if options.languages else None
    examples = examples_of(options.data, options.split, task_of(model), languages)
    if examples.skipped:
        print(f"skipped: {len(examples.skipped)} rows, {examples.skipped[0]}", file=sys.stderr)
    report = evaluate(model, examples, threads=options.threads)
    print(json.dumps(report.to_dict()) if options.json else report.format())
