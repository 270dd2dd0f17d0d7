"""Interleaved timing, sentences to time on, and facts about the machine."""

from __future__ import annotations

import gzip
import os
import platform
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
TOKEN = re.compile(r"\w+|[^\w\s]")
TRAINING_THREADS = int(os.environ.get("PQRNN_BENCH_THREADS", "2"))  # everything else has one


@dataclass(frozen=True)
class Ratio:
    """How many times faster ours was than a rival, both timed in turns in the same minute.

    ``work`` scales the rival's time where ours does more of the same work, such as moving 8 bytes
    where the rival moves 3.
    """

    label: str
    ours: list[float]
    rival: list[float]
    work: float = 1.0

    @property
    def median(self) -> float:
        """Ratio of the median times: what a user sees on this machine, load included."""
        return self.work * median(self.rival) / median(self.ours)

    @property
    def best(self) -> float:
        """Ratio of the best times: what the code can do when nothing disturbs either."""
        return self.work * min(self.rival) / min(self.ours)


def rounds_wanted(rounds: int) -> int:
    """``rounds``, or the smaller number in PQRNN_BENCH_ROUNDS (for smoke runs)."""
    return max(1, min(rounds, int(os.environ.get("PQRNN_BENCH_ROUNDS", rounds))))


def timed(function: Callable[[], object]) -> float:
    """Seconds one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def ratio(
    ours: Callable[[], object],
    rival: Callable[[], object],
    rounds: int,
    *,
    label: str = "rival",
    work: float = 1.0,
) -> Ratio:
    """Time both in turns, ``rounds`` times each, after one call each to warm up."""
    ours(), rival()
    pairs = [(timed(ours), timed(rival)) for _ in range(rounds_wanted(rounds))]
    return Ratio(label, [a for a, _ in pairs], [b for _, b in pairs], work)


_WHO = "the old gardener|a young engineer|my neighbour|the night nurse|our teacher|a lost tourist"
_DID = "repaired|described|forgot|painted|recognised|carried|photographed|returned|sold|hid"
_WHAT = "the broken radio|a wooden boat|three letters|the village map|an empty suitcase|his violin"
_WHERE = "behind the station|near the harbour|under the bridge|in the library|before the storm"
_MORE = "while the rain kept falling|because nobody else wanted to|although it was already late"


def shared() -> Path:
    """Where outside data are, if they are."""
    return Path(os.environ.get("PQRNN_SHARED") or ROOT.parent / "shared")


def _made_up(rng: random.Random) -> str:
    parts = [rng.choice(part.split("|")) for part in (_WHO, _DID, _WHAT, _WHERE)]
    if rng.random() < 0.7:
        parts.append(rng.choice(_MORE.split("|")))
    return " ".join(parts).capitalize() + rng.choice("....?!")


def sentences(count: int, *, tokens: tuple[int, int] = (3, 60)) -> tuple[list[str], str]:
    """English sentences whose number of words and punctuation marks lies in ``tokens``.

    From Wikipedia where the outside data are (PQRNN_SHARED), else put together from a small
    grammar, repeating as needed.

    Returns:
        ``count`` sentences, always the same ones, and the name of their source.
    """
    path = shared() / "data" / "unlabelled" / "wikisplit.en.txt.gz"
    low, high = tokens
    found: list[str] = []
    if path.is_file():
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in map(str.strip, lines):
                if low <= len(TOKEN.findall(line)) <= high:
                    found.append(line)
                    if len(found) == count:
                        return found, "wikisplit"
    rng = random.Random(7)
    source = "wikisplit, repeated" if found else "made up"
    while not found:
        found = [
            s for s in (_made_up(rng) for _ in range(4096)) if low <= len(TOKEN.findall(s)) <= high
        ]
    return [found[row % len(found)] for row in range(count)], source


def machine() -> dict[str, object]:
    """What a reader needs to judge the numbers."""
    import numpy as np

    import pqrnn_native
    from pqrnn_native import _core

    facts: dict[str, object] = {
        "pqrnn_native": pqrnn_native.__version__,
        "isa": _core.isa(),
        "available_isas": list(_core.available_isas()),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
    }
    if hasattr(os, "getloadavg"):
        facts["load_1min"] = round(os.getloadavg()[0], 2)
    return facts
