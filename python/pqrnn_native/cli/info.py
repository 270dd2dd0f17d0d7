"""Print what a model file holds and what this machine runs it with."""

from __future__ import annotations

import argparse
import json
from typing import Any

from .. import __version__, available_isas, load
from ..checkpoint import read_metadata

_MOST_ITEMS = 8  # of a list that is printed for reading


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        nargs="?",
        default="default",
        metavar="MODEL",
        help="a file, or an embedded model's name (default: default)",
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
        "precision": model.config.precision,
        "memory_bytes": model.nbytes,
        "isa": model.isa,
        "available_isas": available_isas(),
        "config": json.loads(model.config.to_json()),
        "info": metadata.info,
    }
    if options.json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    for name in (
        "version", "model", "class", "file_bytes", "weights", "precision", "memory_bytes", "isa",
    ):  # fmt: skip
        print(f"{name:15} {facts[name]}")
    print(f"{'available isas':15} {', '.join(available_isas())}")
    for title in ("config", "info"):
        print(f"{title}:")
        print(json.dumps(_shortened(facts[title]), indent=2, ensure_ascii=False))


def _shortened(value: Any) -> Any:
    """The same for reading: long lists, and lists of lists, are cut."""
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) > _MOST_ITEMS or any(isinstance(item, list) for item in value):
        shown = [item for item in value[:_MOST_ITEMS] if not isinstance(item, list)]
        return [*shown, f"... {len(value)} in all"]
    return value
