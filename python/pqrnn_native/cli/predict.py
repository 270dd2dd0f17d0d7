r"""Apply a trained model to texts, one a line; one JSON object a line comes out.

pqrnn-native predict --model run/ texts.txt
echo "wake me at seven" | pqrnn-native predict --model run/
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from typing import TextIO

from ..train.evaluate import Model, load_trained, predict

_LINES_AT_ONCE = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="RUN", help="run folder or model file")
    parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="UTF-8 text (default: standard input)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="default: all available cores")


def run(options: argparse.Namespace) -> None:
    model = load_trained(options.model)
    if options.file == "-":
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
        _write(model, sys.stdin, options.threads)
        return
    with open(options.file, encoding="utf-8", errors="replace", newline="\n") as file:
        _write(model, file, options.threads)


def _write(model: Model, lines: TextIO, threads: int | None) -> None:
    # A person at a terminal is answered line by line.
    size = 1 if lines.isatty() else _LINES_AT_ONCE
    while texts := [line.rstrip("\r\n") for line in itertools.islice(lines, size)]:
        for row in predict(model, texts, threads=threads):
            print(json.dumps(row, ensure_ascii=False))
        sys.stdout.flush()
