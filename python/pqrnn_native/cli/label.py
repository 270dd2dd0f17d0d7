r"""Let teachers label texts, for a small model to learn the same.

    pqrnn-native label --teacher teacher/ --train mtop:DIR --out soft.npz
    pqrnn-native label --teacher a/ --teacher b/ --train mtop:DIR --text text:more.txt \
        --out soft.npz --pseudo more.jsonl --least 0.6

A teacher is a folder that pqrnn-native teach has made, or a parser, tagger or classifier of our own
(run folder or model file). Of several, the mean of their probabilities counts.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from .._optional import require
from ..checkpoint import write_whole
from ..train.data import read_sentences
from ..train.sources import examples_of

if TYPE_CHECKING:
    from ..train.teaching import Labelled

_LEAST = 0.4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--teacher", action="append", required=True, metavar="TEACHER", help="may be repeated"
    )
    parser.add_argument(
        "--train",
        action="append",
        metavar="KIND:PATH",
        help="labelled set whose training texts are labelled; may be repeated",
    )
    parser.add_argument(
        "--text",
        action="append",
        metavar="text:PATH",
        help="further texts, one a line: a file, or a folder of .txt and .txt.gz; may be repeated",
    )
    parser.add_argument("--languages", metavar="en,de", help="of sets and folders; default: all")
    parser.add_argument("--limit", type=int, metavar="N", help="first N lines of each text file")
    parser.add_argument("--out", required=True, metavar="SOFT.npz", help="for train --soft-labels")
    parser.add_argument(
        "--pseudo",
        metavar="ROWS.jsonl",
        help="further rows for train --train jsonl:..: texts of --text with their best labels",
    )
    parser.add_argument(
        "--least",
        type=float,
        metavar="P",
        help="of --pseudo, the least confidence: probability of the intent times the least "
        f"probability of a tag (default: {_LEAST})",
    )
    parser.add_argument(
        "--device", metavar="NAME", help="of torch, e.g. cpu (default: a GPU if there is one)"
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="of our own models (default: all cores)"
    )


def run(options: argparse.Namespace) -> None:
    require("torch", extra="train")
    if not (options.train or options.text):
        raise ValueError("--train or --text must name texts, got neither")
    if options.pseudo and not options.text:
        raise ValueError("--pseudo needs --text, the texts that are to become rows")
    if options.least is not None and not options.pseudo:
        raise ValueError(f"--least is for --pseudo, got {options.least!r} alone")
    languages = options.languages.split(",") if options.languages else None
    texts, unlabelled = [], []
    if options.train:
        texts = [row.text for row in examples_of(options.train, "train", None, languages)]
    if options.text:
        unlabelled = read_sentences(options.text, languages, limit=options.limit)
    from ..train.teaching import label, load_label_teacher

    found = label(
        [
            load_label_teacher(name, device=options.device, threads=options.threads)
            for name in options.teacher
        ],
        texts,
        unlabelled=unlabelled,
        least=_LEAST if options.least is None else options.least,
    )
    found.soft.save(options.out)
    print(f"{options.out}: {len(found.soft)} texts")
    if options.pseudo:
        _write_rows(options.pseudo, found)
        others = len(found.soft) - len(set(texts))
        print(f"{options.pseudo}: {len(found.rows)} rows of {others} texts")


def _write_rows(path: str, found: Labelled) -> None:
    rows = ({**row, "score": round(row["score"], 6)} for row in found.rows)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_whole(path, [lines.encode()])
