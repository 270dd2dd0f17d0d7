r"""What the GPU job wrote, as files that ``pqrnn-native train`` reads.

For each language ``soft-LANGUAGE.npz`` (soft labels of MTOP's training rows and of more texts) and
``extra-LANGUAGE.jsonl`` (the more texts, with the parse that the teachers think best)::

    pqrnn-native train --task parse --train mtop:DIR --train jsonl:extra-en.jsonl --languages en \
        --dev mtop:DIR --soft-labels soft-en.npz --out run/
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pqrnn_native.projection import Projection
from pqrnn_native.tags import decode_tags
from pqrnn_native.train.soft_labels import SoftLabels

_KINDS = {0: "train", 100: "hidden words", 101: "hidden slots", 102: "exchanged slots"}


def read(path: Path) -> dict[str, Any]:
    """One language's file: arrays, and ``texts`` as a list."""
    with np.load(io.BytesIO(lzma.decompress(path.read_bytes()))) as file:
        found: dict[str, Any] = {name: file[name] for name in file.files}
    found["texts"] = found["texts"].tobytes().decode().split("\n")
    if len(found["texts"]) != len(found["tokens"]):
        raise ValueError(f"{path}: {len(found['texts'])} texts, {len(found['tokens'])} rows")
    return found


def distinct(ids: npt.NDArray[np.uint8], shares: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    """Numbers ``[rows, n]`` where those without a share are of names not in the row yet."""
    out = ids.astype(np.uint16)
    for column in range(1, out.shape[1]):
        missing = shares[:, column] == 0
        for name in range(column + 1):
            free = missing & ~(out[:, :column] == name).any(1)
            out[free, column] = name
            missing &= ~free
    return out


def write_soft(path: Path, found: dict[str, Any], intents: list[str], tags: list[str]) -> None:
    """Soft labels of all texts, in the format of :class:`SoftLabels`."""
    keys = b"".join(
        hashlib.blake2b(text.encode(), digest_size=16).digest() for text in found["texts"]
    )
    arrays: dict[str, Any] = {
        "format": np.array(1), "intents": np.array(intents), "slots": np.array(tags),
        "keys": np.frombuffer(keys, np.uint8).reshape(-1, 16),
        "starts": np.concatenate(([0], np.cumsum(found["tokens"]))).astype(np.int64),
    }  # fmt: skip
    for name in ("intent", "tag"):
        ids, shares = found[f"{name}_ids"].T, found[f"{name}_shares"].T
        arrays[f"{name}_numbers"] = distinct(ids, shares)
        arrays[f"{name}_shares"] = (shares / 255).astype(np.float16)
    np.savez_compressed(path, **arrays)
    labels = SoftLabels.load(path)
    missing = sum(text not in labels for text in found["texts"])
    if missing:
        raise ValueError(f"{path}: {missing} texts are not found again")


def main() -> None:
    """Convert every language that there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="folder of LANGUAGE.xz")
    parser.add_argument("--data", type=Path, required=True, help="folder of prepare.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--least", type=float, default=0.4, help="confidence of a further text")
    parser.add_argument("--agree", action="store_true", help="only texts all teachers agree on")
    parser.add_argument("--generated", type=int, default=0, help="new texts at most; 0: all")
    parser.add_argument("--no-unlabelled", action="store_true", help="no texts of other sets")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with gzip.open(options.data / "texts.json.gz", "rt", encoding="utf-8") as file:
        everything = json.load(file)
    intents, tags = everything["intents"], everything["tags"]
    kinds_of = {**_KINDS, **{n + 1: name for n, name in enumerate(everything["sets"])}}
    projection = Projection(64, split_apostrophes=True)
    report = options.results / "report.json"
    if report.exists():
        print(report.read_text())
    for language in everything["languages"]:
        path = options.results / f"{language}.xz"
        if not path.exists():
            print(f"{language}: nothing")
            continue
        found = read(path)
        write_soft(options.out / f"soft-{language}.npz", found, intents, tags)
        kinds, confidence = found["kinds"], found["confidence"].astype(np.float32)
        use = (kinds > 0) & (confidence >= options.least)
        if options.agree:
            use &= found["agree"]
        if options.no_unlabelled:
            use &= kinds >= 100
        rows = np.flatnonzero(use)
        new = rows[kinds[rows] >= 100]
        if options.generated and len(new) > options.generated:
            drop = np.random.default_rng(options.seed).permutation(new)[options.generated :]
            rows = np.setdiff1d(rows, drop)
        starts = np.concatenate(([0], np.cumsum(found["tokens"], dtype=np.int64)))
        odd = 0
        with (options.out / f"extra-{language}.jsonl").open("w", encoding="utf-8") as out:
            for row in rows:
                text = found["texts"][row]
                own = [tags[n] for n in found["path"][starts[row] : starts[row + 1]]]
                spans = projection.spans(text)
                if len(spans) != len(own):
                    odd += 1
                    continue
                line = {
                    "text": text, "intent": intents[found["intent"][row]],
                    "slots": [list(slot) for slot in decode_tags(spans, own)],
                    "language": language,
                }  # fmt: skip
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
        print(f"{language}: {len(rows) - odd} further texts, {odd} split otherwise")
        for kind in np.unique(kinds):
            own = kinds == kind
            shares = np.quantile(confidence[own], (0.1, 0.25, 0.5, 0.75)).round(3)
            print(
                f"  {kinds_of[int(kind)]}: {own.sum()}, used {int(use[own].sum())}, agree "
                f"{found['agree'][own].mean():.3f}, confidence {shares.tolist()}"
            )


if __name__ == "__main__":
    main()
