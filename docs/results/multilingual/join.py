"""Joins the vectors of the two teachers of the multilingual encoder, as a folder of vectors.

A text's vector is that of Universal Sentence Encoder multilingual beside the centred one of
multilingual-e5-small, each of length 1, in their 256 largest principal directions. e5 is slow and
has vectors of a part of the texts; for the rest a linear map from the other teacher's guesses them.

    python join.py vectors/ picked/texts.txt
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pqrnn_native.train.cache import TeacherCache
from pqrnn_native.train.distill import fit_pca
from pqrnn_native.train.teachers import StoredTeacher, unit_rows

NAME = "use-m3 + e5-small"
WIDTH = 256
_RIDGE = 1.0
_SAMPLE = 100_000


@dataclass
class Joined:
    """What to do with the vectors of both teachers: the arrays of ``joined.npz``.

    Attributes:
        mean: of the second teacher's vectors, float32 ``[384]``.
        guess: the first one's vectors, and a one, to the second one's: float32 ``[513, 384]``.
        directions: of both, float32 ``[896, width]``.
    """

    mean: np.ndarray
    guess: np.ndarray
    directions: np.ndarray

    @classmethod
    def fit(cls, first: np.ndarray, second: np.ndarray) -> Joined:
        """Mean and guess from vectors of the same texts, the first of length 1; all directions."""
        mean = second.mean(0)
        centred = unit_rows(second - mean)
        inputs = np.concatenate([first, np.ones((len(first), 1), np.float32)], 1).astype(float)
        square = inputs.T @ inputs + _RIDGE * np.eye(inputs.shape[1])
        guess = np.linalg.solve(square, inputs.T @ centred).astype(np.float32)
        return cls(mean, guess, np.eye(first.shape[1] + second.shape[1], dtype=np.float32))

    def __call__(self, first: np.ndarray, second: np.ndarray | None) -> np.ndarray:
        """float32 ``[n, directions]`` of texts with, or without, the second teacher's vectors."""
        if second is None:
            other = first @ self.guess[:-1] + self.guess[-1]
        else:
            other = second - self.mean
        joined: np.ndarray = np.concatenate([first, unit_rows(other)], 1) @ self.directions
        return joined


def read(folder: Path, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the texts that have vectors, and their vectors, float32."""
    cache = TeacherCache(folder.parent, StoredTeacher(folder))
    present = [row for row, text in enumerate(texts) if text in cache]
    vectors = cache.vectors[cache.rows([texts[row] for row in present])]
    return np.array(present), vectors.astype(np.float32)


def joined(folder: Path, use: str, e5: str, texts: Sequence[str]) -> tuple[Joined, np.ndarray]:
    """The map, and the joined vectors ``[n, 256]`` of all texts."""
    present, first = read(folder / use, texts)
    if len(present) < len(texts):
        raise SystemExit(f"{len(texts) - len(present)} texts have no vector of {use}")
    first = unit_rows(first)
    rows, second = read(folder / e5, texts)
    found = Joined.fit(first[rows], second)
    whole = found(first, None)
    whole[rows] = found(first[rows], second)
    part = np.random.default_rng(0).permutation(len(texts))[:_SAMPLE]
    found.directions = fit_pca(whole[part], WIDTH)
    return found, whole @ found.directions


def main() -> None:
    """Write the folder, and the map beside it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="cache of teacher vectors")
    parser.add_argument("texts", type=Path)
    parser.add_argument("--use", default="use-m3", help="folder of the teacher of all texts")
    parser.add_argument("--e5", default="e5-float32", help="folder of the other teacher")
    options = parser.parse_args()
    texts = options.texts.read_text("utf-8").split("\n")[:-1]
    found, vectors = joined(options.folder, options.use, options.e5, texts)
    np.savez(options.folder / "joined.npz", **vars(found))
    by_text = dict(zip(texts, vectors, strict=True))

    class Known:
        name, dim = NAME, WIDTH

        def __call__(self, asked: Sequence[str]) -> np.ndarray:
            return np.stack([by_text[text] for text in asked])

    cache = TeacherCache(options.folder, Known())
    cache.add(texts)
    print(cache.folder, len(cache))


if __name__ == "__main__":
    main()
