"""What the multilingual encoder learns of each text, as a folder of vectors.

A student learns the space of all-MiniLM-L6-v2 far better than those of multilingual teachers, so
that is the target in all languages. English sentences have its own vectors, their translations and
word-by-word exchanges those of the English sentence; of all other texts a small network guesses
them from the vectors of Universal Sentence Encoder multilingual, in whose space languages lie
together. It learns that from the English sentences.

    python join.py picked/ vectors/use-m3 vectors/all-MiniLM-L6-v2-bfloat16 targets/
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from texts import read
from torch import Tensor, nn

from pqrnn_native.train.cache import TeacherCache
from pqrnn_native.train.data import read_translations
from pqrnn_native.train.losses import cosine_loss
from pqrnn_native.train.optim import adamw, rate, set_rate
from pqrnn_native.train.teachers import StoredTeacher, unit_rows

NAME = "minilm-bridge"
_HIDDEN = 1024
_NOISE = 0.01
_BATCH = 1024
_RATE = 1e-3
_CHUNK = 65_536


class Bridge(nn.Module):
    """Vectors of one teacher ``[n, a]``, of length 1, to those of another ``[n, b]``."""

    def __init__(self, width: int, target: int) -> None:
        super().__init__()
        self.scale = width**0.5
        self.linear = nn.Linear(width, target)
        self.rest = nn.Sequential(
            nn.Linear(width, _HIDDEN), nn.GELU(), nn.Dropout(0.1), nn.Linear(_HIDDEN, target)
        )

    def forward(self, vectors: Tensor) -> Tensor:
        scaled = vectors * self.scale
        out: Tensor = self.linear(scaled) + self.rest(scaled)
        return out

    @torch.inference_mode()
    def map(self, vectors: np.ndarray) -> np.ndarray:
        """float32 ``[n, b]`` of length 1, in eval mode."""
        self.eval()
        return unit_rows(self(torch.from_numpy(unit_rows(vectors.astype(np.float32)))).numpy())


def fit(source: np.ndarray, target: np.ndarray, epochs: int) -> Bridge:
    """Learn from texts that have both vectors, 5,000 of which are only measured on."""
    torch.manual_seed(0)
    bridge = Bridge(source.shape[1], target.shape[1])
    optimizer = adamw(bridge, _RATE, 0.01)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(source))
    held, own = order[:5000], order[5000:]
    each = len(own) // _BATCH
    steps = epochs * each
    for epoch in range(epochs):
        bridge.train()
        shuffled = rng.permutation(own)
        for batch in range(each):
            rows = shuffled[batch * _BATCH : (batch + 1) * _BATCH]
            set_rate(optimizer, _RATE * rate(epoch * each + batch, steps, 100))
            given = torch.from_numpy(unit_rows(source[rows].astype(np.float32)))
            given += _NOISE * torch.randn(given.shape)
            with torch.autocast("cpu", torch.bfloat16):
                found = bridge(given)
            loss = cosine_loss(found.float(), torch.from_numpy(target[rows].astype(np.float32)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        cosine = (bridge.map(source[held]) * unit_rows(target[held].astype(np.float32))).sum(1)
        print("epoch", epoch + 1, "cosine", round(float(cosine.mean()), 4), flush=True)
    return bridge


def originals(picked: Path) -> dict[str, str]:
    """The English sentence of each text that says the same in another language."""
    groups = read_translations(f"tsv:{picked / 'translations.tsv'}")
    out = {text: group[0] for group in groups for text in group[1:]}
    for line in read(picked / "pseudo.tsv"):
        text, english = line.split("\t")
        out.setdefault(text, english)
    return out


def main() -> None:
    """Write the folder, and the bridge beside its vectors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picked", type=Path, help="what texts.py and pseudo.py wrote")
    parser.add_argument("use", type=Path, help="vectors of Universal Sentence Encoder")
    parser.add_argument("english", type=Path, help="MiniLM's vectors of the English sentences")
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    use, minilm = (
        TeacherCache(folder.parent, StoredTeacher(folder))
        for folder in (options.use, options.english)
    )
    both = read(options.picked / "english.txt")
    bridge = fit(use.vectors[use.rows(both)], minilm.vectors[minilm.rows(both)], options.epochs)
    english, original = set(both), originals(options.picked)

    class Targets:
        name, dim = NAME, minilm.teacher.dim

        def __call__(self, texts: Sequence[str]) -> np.ndarray:
            out = np.empty((len(texts), self.dim), np.float32)
            said = [text if text in english else original.get(text, "") for text in texts]
            known = np.array([text in english for text in said])
            rows = minilm.rows([text for text in said if text in english])
            out[known] = minilm.vectors[rows]
            rest = [text for text, k in zip(texts, known, strict=True) if not k]
            if rest:
                out[~known] = bridge.map(use.vectors[use.rows(rest)])
            return out

    cache = TeacherCache(options.out, Targets())
    cache.add(read(options.picked / "all.txt"), chunk=_CHUNK)
    torch.save(bridge.state_dict(), options.out / "bridge.pt")
    print(cache.folder, len(cache))


if __name__ == "__main__":
    main()
