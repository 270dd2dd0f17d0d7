"""Group sentences by meaning with spherical k-means. NumPy only."""

from __future__ import annotations

import numpy as np

import pqrnn_native as pq

SENTENCES = [
    "It will rain all weekend.",
    "Tomorrow will be sunny and warm.",
    "Heavy snow is expected in the north.",
    "A cold wind blows from the sea.",
    "The striker scored twice in the second half.",
    "Our team lost the final on penalties.",
    "The goalkeeper saved three shots.",
    "The match ended in a draw.",
    "Add two eggs and a cup of flour.",
    "Bake the cake for forty minutes.",
    "Stir the soup and add some salt.",
    "Chop the onions and fry them in butter.",
]


def cluster(vectors: np.ndarray, count: int, *, seeds: int = 20) -> np.ndarray:
    """Group of each row of unit vectors `[n, dim]`: the tightest of several k-means runs."""
    best, best_score = np.zeros(len(vectors), np.int64), -np.inf
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        centres = vectors[rng.choice(len(vectors), count, replace=False)]
        for _ in range(20):
            groups = (vectors @ centres.T).argmax(axis=1)
            for group in range(count):
                # A group that lost all its members starts again at a random sentence.
                members = vectors[groups == group]
                total = members.sum(0) if len(members) else vectors[rng.integers(len(vectors))]
                centres[group] = total / np.linalg.norm(total)
        score = (vectors @ centres.T).max(axis=1).sum()
        if score > best_score:
            best, best_score = groups, score
    return best


def main() -> None:
    groups = cluster(pq.encode(SENTENCES), 3)
    for group in range(3):
        print(f"group {group + 1}")
        for row in np.flatnonzero(groups == group):
            print(f"  {SENTENCES[row]}")


if __name__ == "__main__":
    main()
