"""Print the MTOP tables of mtop.md from run folders.

    python docs/results/mtop_table.py NAME=RUN[,RUN...] ... [--split test]

Several runs after one name are single-language models that make one row together. Reads each run's
``report.json``, or the file that is named instead of a run; the figures are flat exact match in per
cent, with half the width of the 95 % bootstrap interval of the average.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "es", "fr", "de", "hi", "th")

# Published results (pNLP-Mixer v1, table 5), in the order of LANGUAGES, and their average.
PUBLISHED = {
    "paper, pQRNN supervised, 2M": (78.8, 75.1, 71.9, 68.2, 69.3, 68.4, 71.9),
    "paper, pQRNN distilled from mBERT, 2M": (81.8, 79.1, 75.8, 70.8, 72.1, 69.5, 74.8),
    "pNLP-Mixer X-Large, 4.4M": (83.4, 77.7, 74.3, 73.5, 74.4, 72.4, 76.0),
    "mBERT, 170M": (84.4, 81.8, 79.7, 76.5, 73.8, 72.0, 78.0),
}


def languages_of(run: Path, split: str) -> tuple[dict[str, dict[str, Any]], int]:
    """Scores of exact match by language, and the number of weights."""
    path = run / "report.json" if run.is_dir() else run
    facts = json.loads(path.read_text("utf-8"))
    report = facts[split]
    if report is None:
        raise SystemExit(f"{run} was not evaluated on {split}")
    scores = {name: group["scores"]["exact_match"] for name, group in report["languages"].items()}
    return scores, facts["parameters"]


def row(title: str, runs: list[Path], split: str) -> str:
    """One line of the table."""
    scores: dict[str, dict[str, Any]] = {}
    weights = 0
    for run in runs:
        found, weights = languages_of(run, split)
        scores |= found
    cells = [f"{100 * scores[name]['value']:.1f}" if name in scores else "" for name in LANGUAGES]
    average = ""
    if len(scores) == len(LANGUAGES):
        mean = 100 * sum(score["value"] for score in scores.values()) / len(scores)
        # Languages are taken as independent: half widths add in squares.
        half = [50 * (score["high"] - score["low"]) for score in scores.values()]
        average = f"{mean:.1f} ±{math.hypot(*half) / len(half):.1f}"
    return " | ".join(["", f"{title}, {weights / 1e6:.2f}M", *cells, average, ""]).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("rows", nargs="+", metavar="NAME=RUN[,RUN...]")
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    options = parser.parse_args()
    print(" | ".join(["", "model", *LANGUAGES, "average", ""]).strip())
    print("|---|" + "---|" * (len(LANGUAGES) + 1))
    for entry in options.rows:
        title, _, folders = entry.partition("=")
        print(row(title, [Path(folder) for folder in folders.split(",")], options.split))
    if options.split == "test":
        for title, values in PUBLISHED.items():
            cells = [f"{value:.1f}" for value in values]
            print(" | ".join(["", title, *cells, ""]).strip())


if __name__ == "__main__":
    main()
