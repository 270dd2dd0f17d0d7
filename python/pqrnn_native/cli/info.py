"""Print what a model file holds and what this machine runs it with."""

from __future__ import annotations

import argparse
import json

from .. import __version__, available_isas, load
from ..checkpoint import read_metadata


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        nargs="?",
        default="default",
        metavar="PATH",
        help="model file (default: the embedded one)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(options: argparse.Namespace) -> None:
    model = load(options.model)
    metadata = read_metadata(options.model)
    facts = {
        "version": __version__,
        "model": options.model,
        "class": type(model).__name__,
        "file_bytes": metadata.file_bytes,
        "weights": model.config.parameter_count(),
        "memory_bytes": model.nbytes,
        "isa": model.isa,
        "available_isas": available_isas(),
        "config": json.loads(model.config.to_json()),
        "info": metadata.info,
    }
    if options.json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    for name in ("version", "model", "class", "file_bytes", "weights", "memory_bytes", "isa"):
        print(f"{name:15} {facts[name]}")
    print(f"{'available isas':15} {', '.join(available_isas())}")
    for title in ("config", "info"):
        print(f"{title}:")
        print(json.dumps(facts[title], indent=2, ensure_ascii=False))
