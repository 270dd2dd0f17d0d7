"""Write new texts without a model: training texts with other slot values, for teach.py to label.

Done in a minute of one core, where generate.py wants a GPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from generate import write_chunk
from variants import Variants

_CHUNK = 10_000


def main() -> None:
    """Write the files of new texts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of prepare.py")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=20_000, help="of each language, at most")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    variants = Variants(options.data)
    rng = np.random.default_rng(options.seed)
    found = variants.exchange(options.texts, rng)
    order = rng.permutation(len(found.texts))
    for number, at in enumerate(range(0, len(order), _CHUNK)):
        rows = order[at : at + _CHUNK]
        write_chunk(options.work, number, [found.take(rows)])
    (options.work / "texts.done").touch()
    counts = np.bincount(found.languages).tolist()
    print(f"{len(found.texts)} new texts, of each language: {counts}")


if __name__ == "__main__":
    main()
