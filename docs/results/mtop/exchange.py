"""Further texts for a model to label: MTOP's training texts with other slot values.

python docs/results/mtop/exchange.py mtop:DIR de extra.de.txt --texts 25000
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pqrnn_native.train.augment import SlotExchange
from pqrnn_native.train.readers import read_examples


def main() -> None:
    """Write the texts, none of which is a training or a dev text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="mtop:DIR")
    parser.add_argument("language")
    parser.add_argument("out", type=Path)
    parser.add_argument("--texts", type=int, default=25_000, help="at most")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    train, dev = (
        list(read_examples(options.data, split, [options.language])) for split in ("train", "dev")
    )
    exchange = SlotExchange(train)
    rows = [row for row in train if exchange.reaches(row)]
    rng = np.random.default_rng(options.seed)
    known = {row.text for row in (*train, *dev)}
    found: dict[str, None] = {}
    for row in rng.choice(len(rows), 2 * options.texts):
        text = exchange.change(rows[row], rng).text
        if text not in known and "\n" not in text:
            found[text] = None
        if len(found) == options.texts:
            break
    options.out.write_text("".join(f"{text}\n" for text in found), "utf-8")
    print(options.out, len(found))


if __name__ == "__main__":
    main()
