"""Search a small collection by meaning: `python examples/search.py [QUESTION]`. NumPy only."""

from __future__ import annotations

import sys

import numpy as np

import pqrnn_native as pq

COLLECTION = [
    "How can I change my password?",
    "My parcel has not arrived yet.",
    "The invoice shows the wrong amount.",
    "Which payment methods do you accept?",
    "I want to cancel my subscription.",
    "The app crashes when I open the camera.",
    "Do you deliver to other countries?",
    "How long does the battery last?",
    "The headphones are broken, I would like my money back.",
    "Is there a discount for students?",
]


def search(question: str, vectors: np.ndarray, count: int = 3) -> list[int]:
    """Rows of the `count` vectors nearest to the question, best first."""
    scores = vectors @ pq.encode(question)
    return [int(row) for row in np.argsort(-scores)[:count]]


def main() -> None:
    question = " ".join(sys.argv[1:]) or "Where is my package?"
    vectors = pq.encode(COLLECTION)
    print(question)
    for row in search(question, vectors):
        print(f"  {vectors[row] @ pq.encode(question):.2f}  {COLLECTION[row]}")


if __name__ == "__main__":
    main()
