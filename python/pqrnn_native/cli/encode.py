"""Encode a file of texts, one a line, to a NumPy file of sentence vectors.

pqrnn-native encode sentences.txt -o vectors.npy
pqrnn-native encode tickets.jsonl --field body -o vectors.npy
cat sentences.txt | pqrnn-native encode - -o -  > vectors.npy
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .. import Encoder, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="UTF-8 text or JSON lines; - is standard input"
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT.npy",
        help="float32 [lines, dim] in .npy form; - is standard output",
    )
    parser.add_argument(
        "--field", metavar="NAME", help="FILE is JSON lines; encode this field of each"
    )
    parser.add_argument(
        "--model",
        default="default",
        metavar="MODEL",
        help="a file, or an embedded model's name (default: default)",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="default: all available cores")
    parser.add_argument("--batch-size", type=int, metavar="N")
    parser.add_argument(
        "--no-normalize", action="store_true", help="leave the vectors' lengths as they are"
    )


def run(options: argparse.Namespace) -> None:
    encoder = load(options.model)
    if not isinstance(encoder, Encoder):
        raise ValueError(f"--model {options.model!r} is a {type(encoder).__name__}, not an encoder")
    texts = _read(options.file, options.field)
    with _output(options.output) as path:
        vectors = np.lib.format.open_memmap(
            path, mode="w+", dtype=np.float32, shape=(len(texts), encoder.dim)
        )
        if texts:
            with _progress(len(texts)) as progress:
                encoder.encode(
                    texts,
                    out=vectors,
                    threads=options.threads,
                    batch_size=options.batch_size,
                    normalize=not options.no_normalize,
                    progress=progress,
                )
        vectors.flush()
        del vectors


def _read(name: str, field: str | None) -> list[str | bytes]:
    if name == "-":
        return _texts(sys.stdin.buffer, "standard input", field)
    with open(name, "rb") as file:
        return _texts(file, name, field)


def _texts(file: BinaryIO, name: str, field: str | None) -> list[str | bytes]:
    # Bytes go to the encoder as they are: it has its own rule for malformed UTF-8.
    lines = [line.rstrip(b"\r\n") for line in file]
    if field is None:
        return list(lines)
    texts: list[str | bytes] = []
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)[field]
        except (ValueError, KeyError, TypeError, IndexError):
            raise ValueError(f"{name}: line {number} has no JSON field {field!r}") from None
        if not isinstance(value, str):
            raise ValueError(f"{name}: line {number}: field {field!r} is {value!r}, not a string")
        texts.append(value)
    return texts


@contextmanager
def _output(name: str) -> Iterator[Path]:
    """A temporary path beside the target, renamed to it (or copied to stdout) on success."""
    target = None if name == "-" else Path(name)
    folder = tempfile.gettempdir() if target is None else target.parent
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"folder {str(folder)!r} of --output does not exist")
    handle, temporary = tempfile.mkstemp(suffix=".npy", prefix=".pqrnn-", dir=folder)
    os.close(handle)
    path = Path(temporary)
    try:
        yield path
        if target is None:
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    sys.stdout.buffer.write(block)
            sys.stdout.buffer.flush()
        else:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(path, 0o666 & ~mask)  # mkstemp makes files that only the owner can read
            os.replace(path, target)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal when tqdm is there; silence in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda done, total: print(f"\r{done}/{total} texts", end="", file=sys.stderr)
        print(file=sys.stderr)
        return
    with tqdm(total=total, unit="text") as bar:
        yield lambda done, _total: bar.update(done - bar.n)
