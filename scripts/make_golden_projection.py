"""Write tests/golden/projection.txt: what texts must become, on every machine.

    python scripts/make_golden_projection.py                       # that file, from the slow twin
    python scripts/make_golden_projection.py PUBLISHED.jsonl FILE  # recorded outputs of the
                                                                   # published operator, likewise

Either is read by tests/cpp/test_golden.cpp. A line ``{"projection": ...}`` holds settings, as in
a model file; each line below it a text in hexadecimal (``-`` when empty), its number of positions,
and the FNV-1a hash of its int8 features, row after row.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pqrnn_native.config import ProjectionConfig
from pqrnn_native.projection import Projection
from pqrnn_native.reference.projection import ReferenceProjection

FILE = Path(__file__).resolve().parent.parent / "tests" / "golden" / "projection.txt"

TEXTS = [
    b"",
    b" ",
    b"Turn on the lights in the KITCHEN, please!",
    b"sooo  hahaha 111111 it's l'album 3.14 e-mail@example.org",
    "Où est la crème brûlée ? Straße ẞ İstanbul Σίσυφος".encode(),
    "你好世界 ありがとう 고맙습니다 ลิขสิทธิ์ของหนังสือ क्षत्रिय".encode(),
    "👩\u200d👩\u200d👧 👍🏽 🇫🇷 e\u0301 ½ ﬀ —".encode(),
    b"a\xffb \xc3 \xe4\xbd end \xf0\x9f\x98 \xed\xa0\x80 z",
    b"\0 a\0b \t\r\n<BOS> <EOS>",
    " ".join(f"word{n}" for n in range(40)).encode(),
    b"x" * 100,
]

SETTINGS: list[dict[str, Any]] = [
    {},
    {"feature_size": 1},
    {"feature_size": 33, "bos": True, "eos": True},
    {"feature_size": 1024, "char": "signed"},
    {"feature_size": 2100},
    {"feature_size": 64, "lower": False},
    {"feature_size": 64, "split_apostrophes": True},
    {"feature_size": 64, "max_tokens": 3},
    {"feature_size": 64, "split": "space", "char": "signed", "eos": True},
    {"feature_size": 64, "split": "space", "max_tokens": 2},
    {"feature_size": 64, "split": "codepoints"},
    {"feature_size": 64, "vocabulary": "abcdeéo你 "},
    {"feature_size": 64, "split": "space", "alphabetic_only": True},
    {"feature_size": 64, "normalize_repetition": True, "normalize_spaces": True},
    {"feature_size": 64, "separators": ".,!'?", "split": "space"},
    {"feature_size": 64, "first_cap": 1.0, "all_caps": 1.0, "novelty_bits": 3},
    {"feature_size": 64, "doc_size_levels": 4, "novelty_bits": 1},
    {"feature_size": 256, "ngram_size": 128},
    {"feature_size": 1152, "ngram_size": 1088, "ngram_min": 1, "ngram_max": 8},
    *({"feature_size": 100, "hash": f"xfixhash{bits}"} for bits in (8, 16, 32)),
    *({"feature_size": 100, "hash": f"unicodehash{bits}"} for bits in (8, 16)),
]


def fnv1a(data: bytes) -> int:
    """The 64-bit Fowler-Noll-Vo hash 1a."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def settings_line(config: ProjectionConfig) -> str:
    """What differs from the defaults."""
    changed = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != field.default
    }
    return json.dumps({"projection": changed})


def text_line(text: bytes, features: npt.NDArray[np.int8]) -> str:
    """A text, its positions and the hash of its features ``[positions, F]``."""
    return f"{text.hex() or '-'} {len(features)} {fnv1a(features.tobytes()):016x}"


def from_twin() -> Iterator[str]:
    """The lines of the repository's own file."""
    for settings in SETTINGS:
        config = ProjectionConfig(**settings)
        twin = ReferenceProjection(config)
        yield settings_line(config)
        for text in TEXTS:
            features = twin.features(twin.words(text))
            yield text_line(text, np.sign(features).astype(np.int8))


def published(path: Path) -> Iterator[str]:
    """Recorded features of the published operator; our own are checked against their digests."""
    groups: dict[str, list[str]] = {}
    for line in path.read_text("ascii").splitlines():
        record = json.loads(line)
        if record["kind"] != "op" or "error" in record:
            continue
        options = record["options"]
        if {"word_novelty_bits", "doc_size_levels"} & options.keys():
            continue  # int8 does not hold these
        if "input_hex" in record:
            text = bytes.fromhex(record["input_hex"])
        elif "input_repeat" in record:
            text = record["input_repeat"][0].encode() * record["input_repeat"][1]
        else:
            text = record["input"].encode()
        projection = Projection.from_attributes(char=record.get("char", "signed"), **options)
        features, _ = projection.ragged(text)
        rows = ["".join("-0+"[value + 1] for value in row) for row in features.tolist()]
        if hashlib.sha256("\n".join(rows).encode()).hexdigest() != record["sha256"]:
            raise ValueError(f"{record['id']} does not have the recorded features")
        config = settings_line(projection.config)
        groups.setdefault(config, []).append(text_line(text, features))
    for config, lines in groups.items():
        yield config
        yield from lines


def main() -> None:
    """Write one file or the other."""
    if len(sys.argv) == 3:
        lines, target = published(Path(sys.argv[1])), Path(sys.argv[2])
    else:
        lines, target = from_twin(), FILE
    target.write_text("".join(f"{line}\n" for line in lines), "ascii")


if __name__ == "__main__":
    main()
