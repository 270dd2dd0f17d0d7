"""Train several parsers together, then let their mean label texts.

Files ``LANGUAGE.xz`` (a NumPy ``.npz`` inside) have for each text the mean's parse and its largest
probabilities; ``report.json`` has exact match of each parser and of their mean on dev rows.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import lzma
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from model import Encoder, Parsers, device_name, optimizer, rate, read_encoder, set_rate
from pieces import PAD, Encoded, Ragged
from torch import Tensor
from torch.nn import functional

Arrays = dict[str, npt.NDArray[Any]]
_TOP = 4
_IGNORED = -100


def say(began: float, message: str) -> None:
    """A line of the log."""
    print(f"[teach    {time.time() - began:6.1f}] {message}", flush=True)


class Texts:
    """Encoded texts on a device, given out in batches.

    Args:
        encoded: the texts.
        device: of torch.
        tags: number of each token's tag, if known.
        intents: of each text, likewise.
    """

    def __init__(
        self, encoded: Encoded, device: str, tags: npt.NDArray[Any] | None = None,
        intents: npt.NDArray[Any] | None = None,
    ) -> None:  # fmt: skip
        self.lengths, self.tokens = encoded.pieces.lengths, encoded.first.lengths
        self.device = device

        def moved(values: npt.NDArray[Any]) -> Tensor:
            return torch.from_numpy(values.astype(np.int64)).to(device)

        self._pieces = moved(encoded.pieces.values)
        self._piece_starts = moved(encoded.pieces.starts)
        self._token_starts = moved(encoded.first.starts)
        self._parts = [moved(part.values) for part in encoded[1:]]
        self._tags = None if tags is None else moved(tags)
        self._intents = None if intents is None else moved(intents)

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, rows: npt.NDArray[np.int64]) -> tuple[list[Tensor], Tensor]:
        """What a model reads of rows ``[copies, n]``, and which tokens there are."""
        chosen = torch.from_numpy(rows).to(self.device)
        width = int(self.lengths[rows].max())
        if self.device != "cpu":  # where each new shape costs
            width = -(-width // 8) * 8
        ids, mask = self._padded(self._pieces, self._piece_starts, chosen, width, PAD)
        tokens = max(1, int(self.tokens[rows].max()))
        parts = []
        for values in self._parts:
            part, present = self._padded(values, self._token_starts, chosen, tokens, 0)
            parts.append(part)
        return [ids, mask, *parts], present

    def gold(self, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Intents ``[copies, n]``, tags ``[copies, n, tokens]``, -100 where there is no token."""
        assert self._tags is not None
        assert self._intents is not None
        chosen = torch.from_numpy(rows).to(self.device)
        tokens = max(1, int(self.tokens[rows].max()))
        tags, _ = self._padded(self._tags, self._token_starts, chosen, tokens, _IGNORED)
        return self._intents[chosen], tags

    def _padded(
        self, values: Tensor, starts: Tensor, rows: Tensor, width: int, fill: int
    ) -> tuple[Tensor, Tensor]:
        places = starts[rows][..., None] + torch.arange(width, device=self.device)
        inside = places < starts[rows + 1][..., None]
        return torch.where(inside, values[torch.where(inside, places, 0)], fill), inside


def epoch(
    lengths: npt.NDArray[np.int64], rows: int, copies: int, size: int, changed: float,
    rng: np.random.Generator,
) -> Iterator[npt.NDArray[np.int64]]:  # fmt: skip
    """Batches ``[copies, size]``; each copy sees every row once, in one of its variants.

    Args:
        lengths: of all variants, the rows themselves first, then as many changed ones each.
        rows: how many there are.
        copies: of the model.
        size: rows of a batch.
        changed: probability of a changed variant.
        rng: chooses.
    """
    variants = len(lengths) // rows - 1
    size = min(size, rows)
    batches = []
    for _ in range(copies):
        which = np.arange(rows)
        if variants:
            take = rng.random(rows) < changed
            which = which + np.where(take, rng.integers(1, variants + 1, rows), 0) * rows
        order = which[np.argsort(lengths[which] + rng.uniform(0, 3, rows), kind="stable")]
        offset = int(rng.integers(rows % size + 1))
        batches.append(order[offset : offset + rows // size * size].reshape(-1, size))
    together = np.stack(batches, axis=1)
    for batch in rng.permutation(len(together)):
        yield together[batch]


class Decoder:
    """The best parse under what tags may stand where.

    Args:
        by_intent: bool ``[intents, tags]``.
        by_language: bool ``[languages, tags]``.
        transitions: bool ``[tags, tags]``, whether one may be followed by another.
        starts: bool ``[tags]``, whether a text may begin with it.
        device: of torch.
    """

    def __init__(
        self, by_intent: npt.NDArray[np.bool_], by_language: npt.NDArray[np.bool_],
        transitions: npt.NDArray[np.bool_], starts: npt.NDArray[np.bool_], device: str,
    ) -> None:  # fmt: skip
        self._by_intent, self._by_language, allowed, first = (
            torch.from_numpy(each).to(device)
            for each in (by_intent, by_language, transitions, starts)
        )
        self._first = torch.where(first, 0.0, -1e4)
        # Most tags may follow any other, the rest a few: those need no square of tags.
        self._anywhere = allowed.all(0)
        earlier = [torch.nonzero(column)[:, 0] for column in allowed.T[~self._anywhere]]
        most = max((len(each) for each in earlier), default=1)
        self._earlier = torch.stack([each[torch.arange(most).clamp_max(len(each) - 1)]
                                     for each in earlier]) if earlier else None  # fmt: skip

    def _previous(self, score: Tensor) -> tuple[Tensor, Tensor]:
        """For each tag ``[n, tags]`` the best score before it, and whose it is."""
        best, before = (part.expand(-1, score.shape[1]) for part in score.max(1, keepdim=True))
        if self._earlier is not None:
            own, at = score[:, self._earlier].max(2)
            best, before = best.clone(), before.clone()
            best[:, ~self._anywhere] = own
            before[:, ~self._anywhere] = self._earlier.expand(len(score), -1, -1).gather(
                2, at[..., None]
            )[..., 0]
        return best, before

    def __call__(
        self, intents: Tensor, tags: Tensor, tokens: Tensor, languages: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Intent ``[n]``, tags ``[n, tokens]`` and probability of the whole ``[n]``.

        Args:
            intents: probabilities ``[n, intents]``.
            tags: likewise ``[n, tokens, tags]``.
            tokens: bool ``[n, tokens]``.
            languages: int64 ``[n]``.
        """
        share, intent = intents.max(1)
        allowed = self._by_intent[intent] & self._by_language[languages]
        logs = (tags + 1e-9).log().masked_fill(~allowed[:, None], -1e4)
        score = logs[:, 0] + self._first
        stay = torch.arange(logs.shape[2], device=logs.device).expand(len(logs), -1)
        back = []
        for token in range(1, logs.shape[1]):
            best, before = self._previous(score)
            live = tokens[:, token, None]
            score = torch.where(live, best + logs[:, token], score)
            back.append(torch.where(live, before, stay))
        total, at = score.max(1)
        path = [at]
        for before in reversed(back):
            at = before.gather(1, at[:, None])[:, 0]
            path.append(at)
        present = tokens.any(1)
        return intent, torch.stack(path[::-1], 1), share * torch.where(present, total.exp(), 1.0)


class Labeller:
    """Runs the parsers over texts.

    Args:
        model: the parsers.
        decoder: makes parses of probabilities.
        device: of torch.
        bfloat16: whether products run in bfloat16.
        size: subwords of a batch.
    """

    def __init__(
        self, model: Parsers, decoder: Decoder, device: str, bfloat16: bool, size: int = 24_576
    ) -> None:
        self.model, self.decoder, self.device, self.size = model, decoder, device, size
        self.bfloat16 = bfloat16

    def _batches(self, texts: Texts) -> Iterator[npt.NDArray[np.int64]]:
        order = np.lexsort((texts.tokens, texts.lengths))
        at = 0
        while at < len(order):
            width = int(texts.lengths[order[min(at + 255, len(order) - 1)]])
            count = max(16, min(1024, self.size // max(width, 8)))
            yield order[at : at + count]
            at += count

    @torch.inference_mode()
    def shares(self, texts: Texts, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities of each copy, and which tokens there are."""
        inputs, present = texts.batch(rows[None])
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
            intents, tags = self.model(*inputs)
        return intents.float().softmax(-1), tags.float().softmax(-1), present[0]

    @torch.inference_mode()
    def evaluate(
        self, texts: Texts, languages: npt.NDArray[Any], sound: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Whether each row is exactly right, bool ``[copies + 1, n]``; the mean is the last.

        Args:
            texts: with gold answers.
            languages: of each.
            sound: whether tags can express its gold slots.
        """
        copies = self.model.encoder.copies
        right = np.zeros((copies + 1, len(texts)), np.bool_)
        for rows in self._batches(texts):
            intents, tags, present = self.shares(texts, rows)
            gold_intent, gold_tags = (part[0] for part in texts.gold(rows[None]))
            own = torch.from_numpy(languages[rows].astype(np.int64)).to(self.device)
            every = [*zip(intents, tags, strict=True), (intents.mean(0), tags.mean(0))]
            for number, (intent, tag) in enumerate(every):
                found, path, _ = self.decoder(intent, tag, present, own)
                same = ((path == gold_tags) | ~present).all(1) & (found == gold_intent)
                right[number, rows] = same.cpu().numpy()
        result: npt.NDArray[np.bool_] = right & sound
        return result

    @torch.inference_mode()
    def label(self, texts: Texts, languages: npt.NDArray[Any], stop: float) -> Arrays:
        """What the mean says of texts.

        Args:
            texts: any.
            languages: of each.
            stop: time.time() after which no further batch is begun.

        Returns:
            Per text ``done``, ``intent``, ``confidence``, ``agree`` (all copies have that very
            parse), ``intent_ids`` and ``intent_shares`` ``[n, 4]``; per token, texts one after the
            other, ``path``, ``tag_ids`` and ``tag_shares`` ``[tokens, 4]``.
        """
        starts = np.concatenate(([0], np.cumsum(texts.tokens)))
        n, total = len(texts), int(starts[-1])
        out: Arrays = {
            "done": np.zeros(n, np.bool_), "intent": np.zeros(n, np.uint8),
            "confidence": np.zeros(n, np.float16), "agree": np.zeros(n, np.bool_),
            "intent_ids": np.zeros((n, _TOP), np.uint8),
            "intent_shares": np.zeros((n, _TOP), np.uint8),
            "path": np.zeros(total, np.uint8), "tag_ids": np.zeros((total, _TOP), np.uint8),
            "tag_shares": np.zeros((total, _TOP), np.uint8),
        }  # fmt: skip
        for rows in self._batches(texts):
            if time.time() > stop:
                break
            each_intent, each_tag, present = self.shares(texts, rows)
            intents, tags = each_intent.mean(0), each_tag.mean(0)
            own = torch.from_numpy(languages[rows].astype(np.int64)).to(self.device)
            intent, path, confidence = self.decoder(intents, tags, present, own)
            agree = (each_intent.argmax(-1) == intent).all(0)
            agree &= ((each_tag.argmax(-1) == path) | ~present).all(-1).all(0)
            packed = {"intent": intent, "confidence": confidence, "agree": agree}
            for name, values in (("intent", intents), ("tag", tags)):
                shares, ids = values.topk(_TOP, dim=-1)
                quantised = (shares * 255).round()
                packed[f"{name}_shares"] = quantised.to(torch.uint8)
                packed[f"{name}_ids"] = torch.where(quantised > 0, ids, 0).to(torch.uint8)
            packed["path"] = path
            for name in ("path", "tag_ids", "tag_shares"):
                packed[name] = packed[name][present]
            places = Ragged(np.arange(total), starts).take(rows).values
            for name, tensor in packed.items():
                at = places if name in ("path", "tag_ids", "tag_shares") else rows
                out[name][at] = tensor.cpu().numpy().astype(out[name].dtype)
            out["done"][rows] = True
        return out


def load_chunk(path: Path) -> tuple[list[str], Encoded, Arrays]:
    """Texts that generate.py wrote."""
    with np.load(path) as file:
        texts = file["texts"].tobytes().decode().split("\n")
        return texts, Encoded.read(file), {x: file[x] for x in ("languages", "kinds")}


class Results:
    """Labelled texts of each language, and how they become files.

    Args:
        names: of the languages.
        out: folder of the files.
        most: generated texts of a language.
        least: confidence of a generated text.
    """

    def __init__(self, names: list[str], out: Path, most: int, least: float) -> None:
        self._names, self._out, self._most, self._least = names, out, most, least
        self._parts: list[list[tuple[list[str], npt.NDArray[np.int64], Arrays]]] = [
            [] for _ in names
        ]

    def add(
        self, texts: list[str], tokens: npt.NDArray[np.int64], labels: Arrays,
        about: Arrays,
    ) -> None:  # fmt: skip
        """Take over what was labelled.

        Args:
            texts: all of them.
            tokens: how many each has.
            labels: of :meth:`Labeller.label`.
            about: ``languages`` and ``kinds`` of each.
        """
        starts = np.concatenate(([0], np.cumsum(tokens)))
        for number in range(len(self._names)):
            fit = labels["done"] & (about["languages"] == number)
            fit &= (about["kinds"] < 100) | (labels["confidence"] >= self._least)
            rows = np.flatnonzero(fit)
            if not len(rows):
                continue
            places = Ragged(np.arange(starts[-1]), starts).take(rows).values
            own = {
                name: values[places if name in ("path", "tag_ids", "tag_shares") else rows]
                for name, values in labels.items()
                if name != "done"
            }
            own["kinds"] = about["kinds"][rows]
            self._parts[number].append(([texts[row] for row in rows], tokens[rows], own))

    def _write(self, number: int) -> dict[str, int]:
        parts = self._parts[number]
        if not parts:
            return {}
        texts = [text for part, _, _ in parts for text in part]
        tokens = np.concatenate([part for _, part, _ in parts])
        arrays = {name: np.concatenate([own[name] for _, _, own in parts]) for name in parts[0][2]}
        new = np.flatnonzero(arrays["kinds"] >= 100)
        if len(new) > self._most:
            chosen = np.random.default_rng(1).permutation(new)[: self._most]
            rows = np.sort(np.concatenate([np.flatnonzero(arrays["kinds"] < 100), chosen]))
            starts = np.concatenate(([0], np.cumsum(tokens)))
            places = Ragged(np.arange(starts[-1]), starts).take(rows).values
            texts, tokens = [texts[row] for row in rows], tokens[rows]
            arrays = {
                name: values[places if name in ("path", "tag_ids", "tag_shares") else rows]
                for name, values in arrays.items()
            }
        for name in ("intent_ids", "intent_shares", "tag_ids", "tag_shares"):
            arrays[name] = np.ascontiguousarray(arrays[name].T)  # planes are smaller
        arrays["tokens"] = tokens.astype(np.uint16)
        arrays["texts"] = np.frombuffer("\n".join(texts).encode(), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        path = self._out / f"{self._names[number]}.xz"
        packed = lzma.compress(buffer.getbuffer(), preset=3)
        path.with_suffix(".part").write_bytes(packed)
        path.with_suffix(".part").rename(path)
        return {"texts": len(texts), "new": int((arrays["kinds"] >= 100).sum()),
                "tokens": int(tokens.sum()), "bytes": len(packed)}  # fmt: skip

    def write(self) -> dict[str, dict[str, int]]:
        """Write a file for each language, in parallel; what is in them."""
        with ThreadPoolExecutor(len(self._names)) as pool:
            found = list(pool.map(self._write, range(len(self._names))))
        return dict(zip(self._names, found, strict=True))


def fit(
    model: Parsers, texts: Texts, rows: int, options: argparse.Namespace, rng: np.random.Generator
) -> int:
    """Train until the epochs or the time are over; returns the number of steps.

    Args:
        model: the parsers.
        texts: rows and their variants.
        rows: how many there are, without variants.
        options: of the command line.
        rng: chooses rows and variants.
    """
    began, device = options.began, texts.device
    chosen = optimizer(model, 6.0)
    steps = options.epochs * (rows // min(options.batch_size, rows))
    first, step, passes = time.time(), 0, 0
    budget = began + options.train - first
    progress = 0.0
    while progress < 1:
        passes += 1
        for batch in epoch(
            texts.lengths, rows, options.copies, options.batch_size, options.changed, rng
        ):
            progress = max(step / steps, (time.time() - first) / budget)
            if progress >= 1:
                break
            set_rate(chosen, rate(progress, options.learning_rate))
            inputs, _ = texts.batch(batch)
            gold_intents, gold_tags = texts.gold(batch)
            with torch.autocast(device, torch.bfloat16, enabled=options.bfloat16):
                intent_logits, tag_logits = model(*inputs)
            # Sums over copies of each copy's mean: copies do not share a rate.
            intent_loss = functional.cross_entropy(
                intent_logits.float().flatten(0, 1), gold_intents.flatten(), label_smoothing=0.02
            )
            tag_loss = functional.cross_entropy(
                tag_logits.float().flatten(0, 2), gold_tags.flatten(), ignore_index=_IGNORED
            )
            loss = (intent_loss + options.slot_weight * tag_loss) * options.copies
            chosen.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), options.copies**0.5)
            chosen.step()
            step += 1
            if step % 250 == 0 or step == 5:
                say(began, f"step {step}, pass {passes}: intents {intent_loss.item():.4f}, "
                    f"tags {tag_loss.item():.4f}")  # fmt: skip
    say(began, f"trained {step} steps, {step / max(1, steps) * options.epochs:.2f} passes")
    return step


def join(paths: list[Path]) -> dict[str, Any]:
    """Parsers of several runs as copies of one model."""
    runs = [torch.load(path, map_location="cpu") for path in paths]

    def together(name: str) -> Tensor:
        inner = name.removeprefix("encoder.")
        layered = inner != name and Encoder.layered(inner)
        return torch.cat([run["model"][name] for run in runs], 1 if layered else 0)

    steps = sum(run["steps"] for run in runs)
    return {"model": {name: together(name) for name in runs[0]["model"]}, "steps": steps}


def main() -> None:
    """Train, evaluate and label until the clock says stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--began", type=float, required=True, help="time.time() of the job's start")
    parser.add_argument("--wait", type=float, default=90, help="seconds: for the adapted encoder")
    parser.add_argument("--train", type=float, default=295, help="seconds: end of training")
    parser.add_argument("--label", type=float, default=355, help="seconds: end of labelling")
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--raw", type=int, default=1, help="copies that start from e5 as it is")
    parser.add_argument("--epochs", type=int, default=26, help="at most")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1.5e-4)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--changed", type=float, default=0.3, help="share with other slot values")
    parser.add_argument("--slot-weight", type=float, default=4.0)
    parser.add_argument("--most", type=int, default=70_000, help="new texts of a language")
    parser.add_argument("--least", type=float, default=0.3, help="confidence of a new text")
    parser.add_argument("--layers", type=int, default=0, help="of the encoder, from below; 0: all")
    parser.add_argument(
        "--frozen", type=int, default=0, help="layers that do not learn, from below"
    )
    parser.add_argument(
        "--join", nargs="+", type=Path, default=[], metavar="PARSERS",
        help="parsers.pt of earlier runs, instead of training",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1)
    device = device_name()
    parser.add_argument(
        "--bfloat16", action=argparse.BooleanOptionalAction, default=device == "cuda",
        help="products in bfloat16: CPUs with AVX-512 BF16 or AMX are faster with it",
    )  # fmt: skip
    options = parser.parse_args()
    began = options.began
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)

    with gzip.open(options.data / "texts.json.gz", "rt", encoding="utf-8") as text_file:
        everything = json.load(text_file)
    with np.load(options.data / "arrays.npz") as file:
        names = ["train"]
        while f"copy{len(names) - 1}.tags" in file:
            names.append(f"copy{len(names) - 1}")
        train = Encoded.read(file, "train.")
        copies = Encoded.joined([Encoded.read(file, f"{name}.") for name in names])
        tags, intents = (
            np.concatenate([file[f"{name}.{part}"] for name in names])
            for part in ("tags", "intents")
        )
        texts = Texts(copies, device, tags, intents)
        dev = Texts(Encoded.read(file, "dev."), device, file["dev.tags"], file["dev.intents"])
        dev_sound, dev_languages = file["dev.sound"], file["dev.languages"]
        others = Encoded.read(file, "others.")
        about_train = {"languages": file["train.languages"]}
        about_others = {"languages": file["others.languages"], "kinds": 1 + file["others.sets"]}
        about_train["kinds"] = np.zeros(len(train.pieces), np.uint8)
        decoder = Decoder(
            file["allowed_by_intent"], file["allowed_by_language"], file["transitions"],
            file["starts"], device,
        )  # fmt: skip
    say(began, f"{len(texts)} rows with variants, on {device}")

    config, raw = read_encoder(options.data / "encoder.npz", options.layers)
    adapted = options.work / "adapted.pt"
    while not adapted.exists() and time.time() - began < options.wait:
        time.sleep(0.2)
    start = torch.load(adapted) if adapted.exists() else raw
    joined = join(options.join) if options.join else None
    if joined:
        options.copies = len(joined["model"]["place"])
    states = [raw] * options.raw + [start] * (options.copies - options.raw)
    encoder = Encoder(config, states, options.dropout, options.frozen)
    model = Parsers(
        encoder, len(everything["intents"]), len(everything["tags"]), options.dropout
    ).to(device)
    say(began, f"{options.copies} parsers, adapted: {adapted.exists()}")

    parsers = options.work / "parsers.pt"
    if not joined and not parsers.exists():
        step = fit(model, texts, len(train.pieces), options, rng)
        torch.save({"model": model.state_dict(), "steps": step}, parsers)
    found = joined or torch.load(parsers, map_location=device)
    model.load_state_dict(found["model"])
    model.eval()
    labeller = Labeller(model, decoder, device, options.bfloat16)
    languages: list[str] = everything["languages"]
    right = labeller.evaluate(dev, dev_languages, dev_sound)
    report: dict[str, Any] = {"steps": found["steps"], "dev_exact_match": {}}
    for number, name in enumerate(languages):
        own = right[:, dev_languages == number]
        total = own.shape[1] + everything["unparsed_dev"][name]
        report["dev_exact_match"][name] = [round(100 * int(r.sum()) / total, 2) for r in own]
    means = np.mean(list(report["dev_exact_match"].values()), axis=0)
    report["dev_exact_match"]["average"] = np.round(means, 2).tolist()
    report_path = options.out / "report.json"
    report_path.write_text(json.dumps(report))
    say(began, json.dumps(report))

    stop = began + options.label
    results = Results(languages, options.out, options.most, options.least)
    for own_texts, encoded, about in (
        (everything["train"], train, about_train),
        (everything["others"], others, about_others),
    ):
        on_device = Texts(encoded, device)
        labels = labeller.label(on_device, about["languages"], stop)
        results.add(own_texts, on_device.tokens, labels, about)
    say(began, "labelled the training rows and other texts")
    early = ThreadPoolExecutor(1).submit(Results.write, _copy(results))
    chunks = 0
    while time.time() < stop:
        ready = options.work / f"texts-{chunks:04d}.npz"
        if not ready.exists():
            if (options.work / "texts.done").exists() and not ready.exists():
                break
            time.sleep(0.2)
            continue
        group = []
        while ready.exists() and len(group) < 12:
            group.append(load_chunk(ready))
            chunks += 1
            ready = options.work / f"texts-{chunks:04d}.npz"
        new_texts = [text for part, _, _ in group for text in part]
        encoded = Encoded.joined([part for _, part, _ in group])
        about = {x: np.concatenate([part[x] for _, _, part in group])
                 for x in ("languages", "kinds")}  # fmt: skip
        on_device = Texts(encoded, device)
        labels = labeller.label(on_device, about["languages"], stop)
        results.add(new_texts, on_device.tokens, labels, about)
    say(began, f"labelled {chunks} files of new texts")
    early.result()
    report["files"] = results.write()
    report_path.write_text(json.dumps(report))
    say(began, f"wrote {json.dumps(report['files'])}")


def _copy(results: Results) -> Results:
    new = object.__new__(Results)
    new.__dict__.update(results.__dict__)
    new._parts = [list(parts) for parts in results._parts]
    return new


if __name__ == "__main__":
    main()
