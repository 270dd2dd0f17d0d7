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
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from .._optional import require
from ..checkpoint import write_whole
from ..train.data import language_of, read_sentences, text_files
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
        help="further rows for train --train jsonl:ROWS.jsonl: texts of --text with their best "
        "labels; names of files like more.en.txt tell their language",
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
    parser.add_argument("--threads", type=int, metavar="N", help="default: all available cores")


def run(options: argparse.Namespace) -> None:
    torch = require("torch", extra="train")
    if options.threads is not None and options.threads < 1:
        raise ValueError(f"--threads must be at least 1, got {options.threads}")
    if not (options.train or options.text):
        raise ValueError("--train or --text must name texts, got neither")
    if options.pseudo and not options.text:
        raise ValueError("--pseudo needs --text, the texts that are to become rows")
    if options.least is not None and not options.pseudo:
        raise ValueError(f"--least is for --pseudo, got {options.least!r} alone")
    languages = options.languages.split(",") if options.languages else None
    examples = list(examples_of(options.train, "train", None, languages)) if options.train else []
    known = {row.language for row in examples if row.language} | set(languages or ())
    further = _further(options.text or [], languages, options.limit, known)
    from ..train.teaching import label, load_label_teacher

    if options.threads:
        torch.set_num_threads(options.threads)
    found = label(
        [
            load_label_teacher(name, device=options.device, threads=options.threads)
            for name in options.teacher
        ],
        [row.text for row in examples],
        unlabelled=list(further),
        least=_LEAST if options.least is None else options.least,
    )
    found.soft.save(options.out)
    print(f"{options.out}: {len(found.soft)} texts")
    if options.pseudo:
        _write_rows(options.pseudo, found, further)
        others = len(found.soft) - len({row.text for row in examples})
        print(f"{options.pseudo}: {len(found.rows)} rows of {others} texts")


def _further(
    specs: Sequence[str], languages: Sequence[str] | None, limit: int | None, known: Collection[str]
) -> dict[str, str]:
    """Texts and the language of each: what its file's name says, or the only one there is."""
    found: dict[str, str] = {}
    for path in [path for spec in specs for path in text_files(spec, languages)]:
        language = language_of(path)
        if language not in known:
            language = min(known) if len(known) == 1 else ""
        for text in read_sentences([f"text:{path}"], limit=limit):
            found.setdefault(text, language)
    return found


def _write_rows(path: str, found: Labelled, languages: Mapping[str, str]) -> None:
    lines = []
    for row in found.rows:
        language = languages[row["text"]]
        more = {"language": language} if language else {}
        line = {**row, **more, "score": round(row["score"], 6)}
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    write_whole(path, ["".join(lines).encode()])
