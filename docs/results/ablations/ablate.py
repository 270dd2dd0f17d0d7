"""What each part of a parser is worth: trains variants of one model and tabulates them.

    python docs/results/ablations/ablate.py run MTOP --seeds 0 1 2 [--only size/]
    python docs/results/ablations/ablate.py table

MTOP is the data set's folder. Each variant differs from the first in what its name says, and trains
on English for the same number of epochs to the last one, so that nothing is chosen on the dev split
that it is measured on. A variant and seed that has a file in ``runs/`` is not run again; one that
was cut goes on where it was. ``table`` writes the tables and charts from these files alone.

Variants ``distil/*`` learn from soft labels beside the gold ones (``--soft-labels FILE``, as
``pqrnn-native label`` writes them), and ``data/extra-*`` from further rows with such labels
(``--extra ROWS.jsonl``); they are left out without these files.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
LANGUAGE = "en"
BASE: Mapping[str, Any] = {
    "epochs": 10, "batch_size": 128, "learning_rate": 2e-3, "patience": 0,
    "evaluate_every": 2**31 - 1,
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """What differs from the base.

    Attributes:
        config: fields of PQRNNConfig; ``projection`` holds those of ProjectionConfig.
        settings: fields of TrainSettings.
        precision: arithmetic that is trained for.
        share: of the training rows, by a permutation that is the same for all seeds.
        extra: share of the further rows that is added.
        soft: whether soft labels are learned.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "float32"
    share: float = 1.0
    extra: float = 0.0
    soft: bool = False


def _projection(features: int, ngrams: int) -> Variant:
    return Variant({"projection": {"feature_size": features, "ngram_size": ngrams}})


VARIANTS: Mapping[str, Variant] = {
    "base": Variant(),
    "size/features 512": _projection(512, 256),
    "size/features 1024": _projection(1024, 512),
    "size/features 2048": _projection(2048, 1024),
    "size/features 8192": _projection(8192, 4096),
    "size/bottleneck 64": Variant({"bottleneck_size": 64}),
    "size/bottleneck 128": Variant({"bottleneck_size": 128}),
    "size/bottleneck 384": Variant({"bottleneck_size": 384}),
    "size/state 64": Variant({"state_size": 64}),
    "size/state 192": Variant({"state_size": 192}),
    "size/layers 1": Variant({"num_layers": 1}),
    "size/layers 3": Variant({"num_layers": 3}),
    "size/layers 4": Variant({"num_layers": 4}),
    "size/kernel 1": Variant({"kernel_size": 1}),
    "size/kernel 3": Variant({"kernel_size": 3}),
    "size/paper": Variant(
        {
            "projection": {"feature_size": 1024, "ngram_size": 0},
            "bottleneck_size": 256,
            "num_layers": 4,
            "attention_heads": 1,
        }
    ),
    "data/half of the rows": Variant(share=0.5),
    "data/a quarter of the rows": Variant(share=0.25),
    "data/an eighth of the rows": Variant(share=0.125),
    "data/slot exchange 0.3": Variant(settings={"slot_exchange": 0.3}),
    "data/extra 0.25": Variant(extra=0.25, soft=True),
    "data/extra 0.5": Variant(extra=0.5, soft=True),
    "data/extra 1": Variant(extra=1.0, soft=True),
    "distil/soft weight 0.5": Variant(settings={"soft_weight": 0.5}, soft=True),
    "distil/soft weight 1": Variant(settings={"soft_weight": 1.0}, soft=True),
    "distil/soft weight 2": Variant(settings={"soft_weight": 2.0}, soft=True),
    "distil/soft weight 4": Variant(settings={"soft_weight": 4.0}, soft=True),
    "distil/temperature 2": Variant(settings={"soft_weight": 2.0, "temperature": 2.0}, soft=True),
    "distil/temperature 4": Variant(settings={"soft_weight": 2.0, "temperature": 4.0}, soft=True),
    "parts/no n-grams": _projection(4096, 0),
    "parts/n-grams alone": _projection(4096, 4096),
    "parts/8 bits in the loop": Variant(precision="int8"),
    "parts/pooling f": Variant({"pooling": "f"}),
    "parts/pooling ifo": Variant({"pooling": "ifo"}),
    "parts/one direction": Variant({"bidirectional": False}),
    "parts/one attention head": Variant({"attention_heads": 1}),
    "parts/no skip": Variant({"skip": False}),
    "parts/no slot context": Variant({"slot_context": False}),
    "parts/no CRF": Variant({"crf": False}),
    "parts/zoneout 0.1": Variant({"zoneout": 0.1}),
    "parts/distortion 0.1": Variant(settings={"distortion": 0.1}),
    "parts/no token dropout": Variant(settings={"token_dropout": 0.0}),
    "parts/no dropout": Variant(settings={"dropout": 0.0}),
    "parts/no label smoothing": Variant(settings={"label_smoothing": 0.0}),
    "parts/no averaging": Variant(settings={"ema": 0.0}),
}


def file_of(name: str, seed: int) -> Path:
    """Where the figures of a variant and seed are kept."""
    return HERE / "runs" / f"{name.replace('/', '-').replace(' ', '-')}.{seed}.json"


def run(options: argparse.Namespace) -> None:
    """Train what has no file yet."""
    chosen = [
        name
        for name, variant in VARIANTS.items()
        if any(name.startswith(start) for start in options.only or [""])
        and (options.soft_labels or not variant.soft)
        and (options.extra or not variant.extra)
    ]
    for seed in options.seeds:
        for name in chosen:
            if not file_of(name, seed).exists():
                figures = measure(VARIANTS[name], seed, options)
                print(name, seed, json.dumps(figures), flush=True)
                write(file_of(name, seed), {"variant": name, "seed": seed, **figures})


def write(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON file, whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1) + "\n", "utf-8")
    os.replace(part, path)


def measure(variant: Variant, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one variant; its figures on the dev split, in float and in 8 bits, in per cent."""
    from pqrnn_native.quantise import quantise
    from pqrnn_native.train import Examples, TrainSettings, fit
    from pqrnn_native.train.evaluate import evaluate
    from pqrnn_native.train.sources import examples_of

    spec = f"mtop:{options.data}"
    train = examples_of(spec, "train", "parse", [LANGUAGE])
    dev = examples_of(spec, "dev", "parse", [LANGUAGE])
    rows = list(train)
    if variant.share < 1:
        order = np.random.default_rng(0).permutation(len(rows))
        rows = [rows[k] for k in sorted(order[: round(variant.share * len(rows))])]
    if variant.extra:
        further = list(examples_of(f"jsonl:{options.extra}", "train", "parse", None))
        order = np.random.default_rng(0).permutation(len(further))
        rows += [further[k] for k in order[: round(variant.extra * len(further))]]
    settings = TrainSettings(
        **{**BASE, **variant.settings, "seed": seed, "threads": options.threads}
    )
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        result = fit(
            Examples("parse", rows), dev, out=Path(folder, "run"), config=variant.config,
            settings=settings, precision=variant.precision, device="cpu", progress=False,
            soft_labels=options.soft_labels if variant.soft else None, pictures=False,
        )  # fmt: skip
        seconds = time.process_time() - started
        small = result.path
        if variant.precision != "int8":
            small = Path(folder, "int8.safetensors")
            quantise(result.path, [row.text for row in train][:1000], small)
        after = evaluate(str(small), dev, resamples=0)
        return {
            "rows": len(rows),
            "parameters": result.parameters,
            "bytes": small.stat().st_size,
            "seconds": round(seconds),
            "float": percent(result.dev),
            "int8": percent(after),
        }


def percent(report: Any) -> dict[str, float]:
    """Average figures of a report."""
    return {name: round(100 * score.value, 3) for name, score in report.average.items()}


def found() -> dict[str, list[dict[str, Any]]]:
    """Figures of all seeds, by variant, in the order of the table."""
    out: dict[str, list[dict[str, Any]]] = {}
    for name in VARIANTS:
        paths = sorted((HERE / "runs").glob(file_of(name, 0).name.replace(".0.json", ".*.json")))
        if paths:
            out[name] = [json.loads(path.read_text("utf-8")) for path in paths]
    return out


def mean_and_half(values: list[float]) -> tuple[float, float | None]:
    """Mean, and of three seeds or more half the width of its 95 % interval by Student's t."""
    if len(values) < 3:
        return statistics.fmean(values), None
    t = {3: 4.303, 4: 3.182, 5: 2.776}.get(len(values), 2.0)
    return statistics.fmean(values), t * statistics.stdev(values) / math.sqrt(len(values))


def lines(figures: Mapping[str, list[dict[str, Any]]], group: str) -> Iterator[str]:
    """A table of Markdown of the base and one group of variants."""
    base = statistics.fmean(row["float"]["exact_match"] for row in figures["base"])
    yield f"| {group} | seeds | exact match | difference | 8 bits | weights | bytes in 8 bits |"
    yield "|---|---|---|---|---|---|---|"
    for name, rows in figures.items():
        if name != "base" and not name.startswith(group + "/"):
            continue
        mean, half = mean_and_half([row["float"]["exact_match"] for row in rows])
        spread = "" if half is None else f" ± {half:.1f}"
        small = statistics.fmean(row["int8"]["exact_match"] for row in rows)
        first = rows[0]
        yield (
            f"| {name.removeprefix(group + '/')} | {len(rows)} | {mean:.1f}{spread} "
            f"| {'' if name == 'base' else f'{mean - base:+.1f}'} | {small:.1f} "
            f"| {first['parameters']:,} | {first['bytes']:,} |"
        )
    yield ""


def table(_options: argparse.Namespace) -> None:
    """Print the tables and draw a chart of each group beside this file."""
    figures = found()
    if "base" not in figures:
        sys.exit("no run of the base yet")
    groups = dict.fromkeys(name.partition("/")[0] for name in figures if name != "base")
    for group in groups:
        print("\n".join(lines(figures, group)))
        draw(figures, group)


def draw(figures: Mapping[str, list[dict[str, Any]]], group: str) -> None:
    """Exact match of a group: against bytes for sizes, else one bar for each variant."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    shown = {
        n.removeprefix(group + "/"): r for n, r in figures.items() if n.startswith(group + "/")
    }
    shown = {"base": figures["base"], **shown}
    means = [
        mean_and_half([row["float"]["exact_match"] for row in rows]) for rows in shown.values()
    ]
    errors = [half or 0.0 for _, half in means]
    values = [mean for mean, _ in means]
    if group == "size":
        figure, axes = plt.subplots(figsize=(7, 5))
        size = [rows[0]["bytes"] / 1e6 for rows in shown.values()]
        axes.errorbar(size, values, errors, fmt="o", capsize=2)
        for x, y, name in zip(size, values, shown, strict=True):
            axes.annotate(name, (x, y), (4, 4), textcoords="offset points", fontsize=8)
        axes.set(xlabel="MB in 8 bits", ylabel="exact match on dev, %")
    else:
        figure, axes = plt.subplots(figsize=(7, 0.35 * len(shown) + 1.2))
        axes.barh(list(shown)[::-1], values[::-1], xerr=errors[::-1], capsize=2)
        axes.axvline(values[0], color="black", linewidth=0.8)
        axes.set(xlabel="exact match on dev, %", xlim=(min(values) - 2, max(values) + 2))
    figure.tight_layout()
    figure.savefig(HERE / f"{group}.png", dpi=100, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("run", help="train what is missing")
    training.add_argument("data", type=Path)
    training.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    training.add_argument("--only", nargs="+", metavar="START", help="of a variant's name")
    training.add_argument("--threads", type=int, default=1)
    training.add_argument("--soft-labels", type=Path, metavar="FILE")
    training.add_argument("--extra", type=Path, metavar="ROWS.jsonl")
    training.set_defaults(call=run)
    commands.add_parser("table", help="from the figures that are kept").set_defaults(call=table)
    options = parser.parse_args()
    options.call(options)


if __name__ == "__main__":
    main()
