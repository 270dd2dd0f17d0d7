"""Train a masked language model on texts of the domain, then let it write new ones.

After ``--adapt`` seconds of training the encoder is saved for the parsers to start from.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import variants
from model import Encoder, MaskedModel, device_name, optimizer, rate, read_encoder, set_rate
from pieces import MASK, PAD, SPACE, Encoded, Ragged
from torch import Tensor
from torch.nn import functional


def say(began: float, message: str) -> None:
    """A line of the log."""
    print(f"[generate {time.time() - began:6.1f}] {message}", flush=True)


def save_whole(path: Path, what: object) -> None:
    """torch.save, visible when it is complete."""
    torch.save(what, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)


class Trainer:
    """The masked language model and its texts on a device.

    Args:
        texts: subwords of all texts.
        vocabulary: the subwords themselves.
        encoder: file of the encoder.
        layers: as for :func:`read_encoder`.
        device: of torch.
    """

    def __init__(
        self, texts: Ragged, vocabulary: list[str], encoder: Path, layers: int, device: str
    ) -> None:
        config, state = read_encoder(encoder, layers)
        self.device = device
        self.model = MaskedModel(Encoder(config, [state], 0.1)).to(device)
        self.lengths = texts.lengths
        self._values = torch.from_numpy(texts.values.astype(np.int64)).to(device)
        self._starts = torch.from_numpy(texts.starts).to(device)
        begins = [p.startswith(SPACE) or any("\u0e00" <= c <= "\u0e7f" for c in p)
                  for p in vocabulary]  # fmt: skip
        self._begins = torch.tensor(begins, device=device)

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
        """Rows of similar length, for ever."""
        while True:
            order = np.argsort(self.lengths + rng.uniform(0, 3, len(self.lengths)), kind="stable")
            size = min(size, len(order))
            count = len(order) // size
            for batch in rng.permutation(count):
                yield order[batch * size : (batch + 1) * size]

    def loss(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """Of guessing hidden words of some texts."""
        device = self.device
        width = min(int(-(-self.lengths[rows].max() // 8) * 8), 64)
        chosen = torch.from_numpy(rows).to(device)
        starts, ends = self._starts[chosen], self._starts[chosen + 1]
        places = starts[:, None] + torch.arange(width, device=device)
        mask = places < ends[:, None]
        ids = torch.where(mask, self._values[torch.where(mask, places, 0)], PAD)
        # A random number for each unit, or for each two units next to each other.
        units = self._begins[ids].cumsum(1)
        pairs = torch.rand(len(rows), 1, device=device) < 0.4
        units = torch.where(pairs, units // 2, units)
        chance = torch.rand(len(rows), width + 1, device=device).gather(1, units)
        share = 0.08 + 0.42 * torch.rand(len(rows), 1, device=device)
        hidden = (chance < share) & mask & (ids > MASK)
        at = hidden.nonzero(as_tuple=True)
        gold = ids[at]
        other = torch.rand(len(gold), device=device)
        noise = torch.randint(MASK + 1, len(self._begins), (len(gold),), device=device)
        shown = torch.where(other < 0.92, MASK, torch.where(other < 0.96, gold, noise))
        seen = ids.clone()
        seen[at] = shown
        with torch.autocast(device, torch.bfloat16):
            logits = self.model(seen, mask, *at)
        return functional.cross_entropy(logits.float(), gold)


class Writer:
    """Fills in hidden subwords one after the other.

    Args:
        model: guesses them.
        by_language: bool ``[languages, subwords]``, what may be written.
        begins: bool ``[subwords]``, whether one begins a word.
        top: how many guesses are considered.
        temperature: of the guesses.
        device: of torch.
    """

    def __init__(
        self, model: MaskedModel, by_language: npt.NDArray[np.bool_],
        begins: npt.NDArray[np.bool_], top: int, temperature: float, device: str,
    ) -> None:  # fmt: skip
        self._model, self._top, self._temperature = model, top, temperature
        self._device = device
        kinds = np.stack([np.ones_like(begins), begins, ~begins])
        self._languages = torch.from_numpy(by_language).to(device)
        self._kinds = torch.from_numpy(kinds).to(device)

    @torch.inference_mode()
    def fill(self, drafts: variants.Drafts, rows: npt.NDArray[np.int64]) -> Ragged:
        """Subwords of these drafts with nothing hidden."""
        device = self._device
        lengths = drafts.ids.lengths[rows]
        width = int(-(-lengths.max() // 8) * 8)
        ids = torch.from_numpy(drafts.ids.padded(rows, width, PAD).astype(np.int64)).to(device)
        free = torch.from_numpy(drafts.free.padded(rows, width, 0).astype(np.int64)).to(device)
        languages = torch.from_numpy(drafts.languages[rows].astype(np.int64)).to(device)
        mask = ids != PAD
        order = torch.arange(len(rows), device=device)
        steps = int(((ids == MASK) & (free > 0)).sum(1).max())
        for _ in range(steps):
            hidden = ids == MASK
            at = hidden.int().argmax(1)
            live = hidden.any(1)
            with torch.autocast(device, torch.bfloat16):
                logits = self._model(ids, mask, order, at)
            allowed = self._languages[languages] & self._kinds[free[order, at]]
            logits = logits.float().masked_fill(~allowed, -torch.inf)
            best, numbers = logits.topk(min(self._top, logits.shape[1]), dim=1)
            shares = (best / self._temperature).softmax(1)
            drawn = torch.multinomial(shares, 1)
            guess = numbers.gather(1, drawn)[:, 0]
            ids[order, at] = torch.where(live, guess, ids[order, at])
        values = ids.cpu().numpy()
        inside = np.arange(width) < lengths[:, None]
        starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        return Ragged(values[inside].astype(np.int32), starts)


def source_rows(
    languages: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8], sets: npt.NDArray[np.uint8],
    wanted: int, share: float, rng: np.random.Generator,
) -> npt.NDArray[np.int64]:  # fmt: skip
    """Rows to vary, all languages mixed: ``wanted`` of each, a share of them unlabelled ones."""
    chosen = []
    for language in np.unique(languages):
        own = np.flatnonzero(languages == language)
        rest = len(languages) + np.flatnonzero((others == language) & (sets <= 3) & (sets > 0))
        for part, count in ((own, wanted - round(share * wanted)), (rest, round(share * wanted))):
            if len(part):
                times = -(-count // len(part))
                rows = np.concatenate([rng.permutation(part) for _ in range(times)])[:count]
                chosen.append(np.stack([rng.permutation(count) / count, rows]))
    order = np.concatenate(chosen, axis=1)
    return order[1, np.argsort(order[0], kind="stable")].astype(np.int64)


def write_chunk(folder: Path, number: int, parts: list[variants.Finished]) -> int:
    """Write finished texts for the parsers to label; how many there are."""
    texts = [text for part in parts for text in part.texts]
    path = folder / f"texts-{number:04d}.npz"
    with path.with_suffix(".part").open("wb") as file:
        np.savez(
            file,
            texts=np.frombuffer("\n".join(texts).encode(), np.uint8),
            languages=np.concatenate([part.languages for part in parts]),
            kinds=np.concatenate([part.kinds for part in parts]),
            **Encoded.joined([part.encoded for part in parts]).arrays(),
        )
    path.with_suffix(".part").rename(path)
    return len(texts)


def without(part: variants.Finished, seen: set[int]) -> variants.Finished:
    """What is new among finished texts; remembers it."""
    rows = np.array([n for n, k in enumerate(part.keys.tolist()) if k not in seen], np.int64)
    seen.update(part.keys[rows].tolist())
    return part.take(rows)


def main() -> None:
    """Train and write until the clock says stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--began", type=float, required=True, help="time.time() of the job's start")
    parser.add_argument("--adapt", type=float, default=65, help="seconds after the start")
    parser.add_argument("--train", type=float, default=120, help="likewise: end of training")
    parser.add_argument("--stop", type=float, default=260, help="likewise: end of writing")
    parser.add_argument("--texts", type=int, default=140_000, help="drafts of each language")
    parser.add_argument("--unlabelled-share", type=float, default=0.15)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--write-batch", type=int, default=4096)
    parser.add_argument("--learning-rate", type=float, default=4e-4)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top", type=int, default=50)
    parser.add_argument("--layers", type=int, default=0)
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--chunk", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    began = options.began
    # Before CUDA is touched: workers are forks.
    pool = multiprocessing.get_context("fork").Pool(
        options.workers, variants.start, (options.data,)
    )
    rng = np.random.default_rng(options.seed)
    with np.load(options.data / "arrays.npz") as file:
        train = Encoded.read(file, "train.").pieces
        others = Encoded.read(file, "others.").pieces
        languages, other_languages = file["train.languages"], file["others.languages"]
        sets = file["others.sets"]
    rows = source_rows(
        languages, other_languages, sets, options.texts, options.unlabelled_share, rng
    )
    tasks = [
        (int(rng.integers(2**31)), rows[at : at + options.chunk])
        for at in range(0, len(rows), options.chunk)
    ]
    drafts = pool.imap(variants.make, tasks)

    device = device_name()
    torch.manual_seed(options.seed)
    with gzip.open(options.data / "texts.json.gz", "rt", encoding="utf-8") as text_file:
        vocabulary: list[str] = json.load(text_file)["pieces"]
    texts = Ragged.joined([train, others])
    trainer = Trainer(texts, vocabulary, options.data / "encoder.npz", options.layers, device)
    model = trainer.model
    chosen = optimizer(model, 2.0)
    say(began, f"{len(texts)} texts, {len(rows)} drafts to make")
    first, step = time.time(), 0
    budget = began + options.train - first
    adapted = False
    for batch in trainer.batches(options.batch_size, rng):
        now = time.time()
        if now - first >= budget:
            break
        if not adapted and now - began >= options.adapt:
            adapted = True
            save_whole(options.work / "adapted.pt", model.encoder.state())
            say(began, "saved the encoder for the parsers")
        set_rate(chosen, rate((now - first) / budget, options.learning_rate))
        loss = trainer.loss(batch)
        chosen.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        chosen.step()
        step += 1
        if step % 200 == 0 or step == 5:
            say(began, f"step {step}: masked loss {loss.item():.3f}")
    if not adapted:
        save_whole(options.work / "adapted.pt", model.encoder.state())
    say(began, f"trained {step} steps")

    model.eval()
    count = np.zeros((6, len(vocabulary)), np.int64)
    for own, which in ((train, languages), (others, other_languages)):
        np.add.at(count, (np.repeat(which, own.lengths), own.values), 1)
    by_language = count >= 2
    by_language[:, : MASK + 1] = False
    begins = np.array([piece.startswith(SPACE) for piece in vocabulary])
    begins[vocabulary.index(SPACE)] = False
    writer = Writer(model, by_language, begins, options.top, options.temperature, device)
    seen: set[int] = set()
    waiting: list[multiprocessing.pool.AsyncResult[variants.Finished]] = []
    numbers = iter(range(10**6))
    written = 0

    def collect(least: int) -> None:
        nonlocal written
        while len(waiting) > least:
            part = without(waiting.pop(0).get(), seen)
            if part.texts:
                written += write_chunk(options.work, next(numbers), [part])

    made: list[variants.Drafts] = []
    per_round = max(1, 4 * options.write_batch // options.chunk)
    for task in range(len(tasks)):
        made.append(next(drafts))
        if len(made) < per_round and task + 1 < len(tasks):
            continue
        if time.time() - began > options.stop:
            say(began, "no time for the rest")
            break
        joined = variants.Drafts(
            Ragged.joined([d.ids for d in made]), Ragged.joined([d.free for d in made]),
            np.concatenate([d.languages for d in made]), np.concatenate([d.kinds for d in made]),
        )  # fmt: skip
        made = []
        hidden = np.add.reduceat(joined.ids.values == MASK, joined.ids.starts[:-1])
        order = np.lexsort((joined.ids.lengths, hidden))
        for at in range(0, len(order), options.write_batch):
            part = order[at : at + options.write_batch]
            filled = writer.fill(joined, part)
            task_of = filled, joined.languages[part], joined.kinds[part]
            waiting.append(pool.apply_async(variants.finish, (task_of,)))
        collect(8)
        if (task + 1) // per_round % 5 == 1:
            say(began, f"{written} new texts")
    collect(0)
    say(began, f"done: {written} new texts")
    (options.work / "texts.done").touch()
    pool.terminate()


if __name__ == "__main__":
    main()
