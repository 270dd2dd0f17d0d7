"""Everything that the GPU job reads, from the data sets and the teacher's package, in one folder.

Texts are split into the teacher's subwords here, gold parses become numbers of tags, and the 4-bit
encoder keeps the subwords that occur. Of dev rows there are subwords and tags, to evaluate the
teachers; of test rows and dev texts only hashes, so that no generated text is one of them.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pieces import SPECIALS, UNKNOWN, Encoded, Pieces, Ragged, key
from words import Words

from pqrnn_native.projection import Projection
from pqrnn_native.tags import TagSet, collect_tags, collect_tags_by_intent, decode_tags, encode_tags
from pqrnn_native.train.augment import SlotExchange
from pqrnn_native.train.readers import Example, read_examples

LANGUAGES = ("en", "es", "fr", "de", "hi", "th")
SETS = ("mtop", "massive", "mtod", "home", "sgd", "voice")
_THAI_SPACE = re.compile("(?<=[\u0e00-\u0e7f]) (?=[\u0e00-\u0e7f])")
BLOCK = 18  # bytes of 32 weights: fp16 scale, then low and high nibbles


def read_model(path: Path) -> dict[str, Any]:
    """Parts of an ``E5S1`` file: settings, vocabulary, normaliser, tensors as they are stored."""
    raw = path.read_bytes()
    if raw[:4] != b"E5S1":
        raise ValueError(f"{path} is no E5S1 file")
    at = 8

    def take(form: str) -> tuple[Any, ...]:
        nonlocal at
        values = struct.unpack_from("<" + form, raw, at)
        at += struct.calcsize("<" + form)
        return values

    hidden, layers, heads, inner, rows, positions, _, epsilon, _ = take("7ifi")
    count, begin, end, pad, unknown, size = take("5iQ")
    offsets = np.frombuffer(raw, np.uint32, count + 1, at)
    at += 4 * (count + 1)
    scores = np.frombuffer(raw, np.float32, count, at)
    at += 4 * count
    blob = raw[at : at + size]
    at += size
    pieces = [blob[offsets[i] : offsets[i + 1]].decode("utf-8", "replace") for i in range(count)]
    number, bytes_of = take("iI")
    after = at + bytes_of
    normal = {}
    for _ in range(number):
        code, length = take("IB")
        normal[code] = "".join(map(chr, take(f"{length}I")))
    at = after
    tensors = {}
    for _ in range(take("i")[0]):
        (length,) = take("H")
        name = raw[at : at + length].decode()
        at += length
        packed, _, offset, stored = take("BIQQ")
        dtype = np.uint8 if packed else np.float32
        tensors[name] = np.frombuffer(raw, dtype, stored // np.dtype(dtype).itemsize, offset)
    specials = [begin, pad, end, unknown, count - 1]
    if tuple(pieces[i] for i in specials) != SPECIALS:
        raise ValueError(f"other special subwords than expected: {[pieces[i] for i in specials]}")
    return {
        "config": {"hidden": hidden, "layers": layers, "heads": heads, "inner": inner,
                   "rows": rows, "positions": positions, "epsilon": epsilon},
        "pieces": pieces, "scores": scores, "specials": specials, "normal": normal,
        "tensors": tensors,
    }  # fmt: skip


def cut_model(model: dict[str, Any], kept: npt.NDArray[np.int64], path: Path) -> None:
    """Write the encoder with some of its subwords."""
    hidden = model["config"]["hidden"]
    arrays = dict(model["tensors"])
    words = arrays["emb.word"].reshape(-1, hidden // 32 * BLOCK)
    arrays["emb.word"] = words[kept].reshape(-1)
    arrays["emb.pos"] = arrays["emb.pos"].reshape(-1, hidden)[:128].reshape(-1)
    config = {**model["config"], "rows": len(kept), "positions": 128}
    np.savez(path, config=json.dumps(config), **arrays)


def lines(path: Path) -> list[str]:
    """Lines of a gzip file, without ends; none where there is no file."""
    if not path.is_file():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [line.rstrip("\n") for line in file]


def other_texts(
    data: Path, language: str, rng: np.random.Generator, limit: int
) -> Iterator[tuple[str, str]]:
    """Set and text of unlabelled text of a language."""
    for line in lines(data / "massive" / language / "train.tsv.gz"):
        text = line.split("\t")[0]
        # In Thai its spaces stand where slots begin and end, which nobody would type.
        yield "massive", _THAI_SPACE.sub("", text)
    for split in ("train", "eval"):
        rows = lines(data / "mtod" / language / f"{split}.tsv.gz")
        for row in csv.reader(rows, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield "mtod", row[2].strip()
    for text in lines(data / "unlabelled" / "ha_commands" / f"{language}.txt.gz"):
        yield "home", text
    if language == "en":
        turns = lines(data / "unlabelled" / "sgd_utterances.en.txt.gz")
        for row in rng.permutation(len(turns))[:limit]:
            yield "sgd", turns[row]
    spoken = lines(data / "unlabelled" / "commonvoice" / f"{language}.txt.gz")
    for row in rng.permutation(len(spoken))[: limit // 3]:
        yield "voice", spoken[row]


def typed_forms(pieces: Pieces, texts: list[str]) -> dict[str, str]:
    """Words that people write otherwise than the normaliser does, by what it makes of them."""
    seen = Counter(word for text in texts for word in text.split())
    forms: dict[str, tuple[int, str]] = {}
    for word, count in seen.items():
        clean = pieces.clean(word)[0]
        if clean != word and count > forms.get(clean, (0, ""))[0]:
            forms[clean] = count, word
    return {clean: word for clean, (count, word) in forms.items() if count > seen[clean]}


def unique(texts: Iterator[tuple[str, str]], seen: set[int]) -> list[tuple[str, str]]:
    """Those whose key is new, of a sensible length."""
    kept = []
    for name, text in texts:
        number = key(text)
        if number not in seen and 3 <= len(text) <= 160:
            seen.add(number)
            kept.append((name, text))
    return kept


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", type=Path, required=True, help="e5-small-q4.bin")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=0, help="of each split and language; 0: all")
    parser.add_argument("--copies", type=int, default=2, help="of train rows, with other values")
    parser.add_argument("--others", type=int, default=20_000, help="sentences of large sets")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(options.seed)
    most = options.rows or None
    words, projection = Words(), Projection(64, split_apostrophes=True)

    source = f"mtop:{options.data / 'mtop'}"
    train = {x: read_examples(source, "train", [x]).rows[:most] for x in LANGUAGES}
    dev = {x: read_examples(source, "dev", [x]).rows[:most] for x in LANGUAGES}
    unparsed = {x: sum(read_examples(source, "dev", [x]).unparsed.values()) for x in LANGUAGES}
    test = [row.text for row in read_examples(source, "test").rows]
    banned = {key(row.text) for part in (train, dev) for rows in part.values() for row in rows}
    banned |= {key(text) for text in test}
    for language in LANGUAGES:  # rows whose slots overlap are no examples
        for split in ("train", "eval", "test"):
            for line in lines(options.data / "mtop" / language / f"{split}.spans.jsonl.gz"):
                banned.add(key(json.loads(line)["utterance"]))

    seen = set(banned)
    others = {
        x: unique(other_texts(options.data, x, rng, options.others), seen)[:most] for x in LANGUAGES
    }

    model = read_model(options.model)
    special = set(model["specials"])
    order = np.array(
        [*model["specials"], *(i for i in range(len(model["pieces"])) if i not in special)]
    )
    whole = Pieces(
        [model["pieces"][i] for i in order], model["scores"][order].tolist(), model["normal"]
    )
    texts = [row.text for rows in train.values() for row in rows]
    texts += [row.text for rows in dev.values() for row in rows]
    texts += [text for rows in others.values() for _, text in rows]
    used: set[int] = set(range(len(SPECIALS)))
    for ids in whole.split(texts):
        used.update(ids)
    letters = {c for text in texts for c in whole.clean(text)[0]}
    singles = letters | {"\u2581" + c for c in letters} | {"\u2581"}
    used.update(i for i, piece in enumerate(whole.pieces) if piece in singles)
    kept = np.array(sorted(used))
    pieces = Pieces(
        [whole.pieces[i] for i in kept], model["scores"][order[kept]].tolist(), model["normal"]
    )
    cut_model(model, order[kept], options.out / "encoder.npz")

    intents = sorted({row.intent for rows in train.values() for row in rows})
    own_tags = {}
    for language, rows in train.items():
        items = [(projection.spans(row.text), row.slots) for row in rows]
        own_tags[language] = collect_tags(items)
    tags = ["O", *sorted({tag for each in own_tags.values() for tag in each} - {"O"})]
    by_intent = collect_tags_by_intent(
        [(row.intent, row.slots) for rows in train.values() for row in rows], intents, tags
    )
    allowed = np.zeros((len(intents), len(tags)), np.bool_)
    for number, own in enumerate(by_intent):
        allowed[number, list(own) if own else slice(None)] = True
    in_language = np.array([[tag in set(own_tags[x]) for tag in tags] for x in LANGUAGES])

    def encoded(rows: list[str]) -> Encoded:
        spans = [words(text) for text in rows]
        return pieces.encode(rows, spans)

    def gold(language: str, rows: list[Example]) -> tuple[Ragged, npt.NDArray[np.bool_]]:
        names, sound = [], []
        for row in rows:
            spans = projection.spans(row.text)
            found = encode_tags(spans, row.slots, set(own_tags[language]))
            sound.append(list(decode_tags(spans, found)) == sorted(row.slots))
            names.append([number.get(tag, 0) for tag in found])
        return Ragged.of(names, np.uint16), np.array(sound)

    number = {tag: n for n, tag in enumerate(tags)}
    place = {intent: n for n, intent in enumerate(intents)}
    arrays: dict[str, Any] = {}
    exchange = SlotExchange([row for rows in train.values() for row in rows])
    parts = {"train": train, "dev": dev}
    for copy in range(options.copies):
        parts[f"copy{copy}"] = {
            x: [exchange(row, rng) for row in rows] for x, rows in train.items()
        }
    for name, part in parts.items():
        gathered, golds = [], []
        for language, rows in part.items():
            gathered.append(encoded([row.text for row in rows]))
            golds.append(gold(language, rows))
        arrays.update(Encoded.joined(gathered).arrays(f"{name}."))
        arrays[f"{name}.tags"] = Ragged.joined([own for own, _ in golds]).values
        arrays[f"{name}.sound"] = np.concatenate([sound for _, sound in golds])
        arrays[f"{name}.intents"] = np.array(
            [place.get(row.intent, -1) for rows in part.values() for row in rows], np.int16
        )
        arrays[f"{name}.languages"] = np.repeat(
            np.arange(len(LANGUAGES), dtype=np.uint8), [len(rows) for rows in part.values()]
        )
    flat = [
        (number_of, SETS.index(name), text)
        for number_of, language in enumerate(LANGUAGES)
        for name, text in others[language]
    ]
    arrays.update(encoded([text for _, _, text in flat]).arrays("others."))
    arrays["others.languages"] = np.array([n for n, _, _ in flat], np.uint8)
    arrays["others.sets"] = np.array([kind for _, kind, _ in flat], np.uint8)
    arrays["banned"] = np.array(sorted(banned), np.uint64)
    arrays["allowed_by_intent"], arrays["allowed_by_language"] = allowed, in_language
    tag_set = TagSet(tags)
    arrays["transitions"], arrays["starts"] = tag_set.allowed, tag_set.starts
    np.savez_compressed(options.out / "arrays.npz", **arrays)

    slots = [[list(slot) for slot in row.slots] for rows in train.values() for row in rows]
    everything = {
        "languages": LANGUAGES, "sets": SETS, "intents": intents, "tags": tags,
        "unparsed_dev": unparsed,
        "pieces": pieces.pieces, "scores": model["scores"][order[kept]].astype(float).tolist(),
        "normal": {str(code): text for code, text in model["normal"].items()},
        "typed": [
            typed_forms(
                pieces, [row.text for row in train[x]] + [t for _, t in others[x]]
            )
            for x in LANGUAGES
        ],
        "train": [row.text for rows in train.values() for row in rows], "slots": slots,
        "others": [text for _, _, text in flat],
    }  # fmt: skip
    with gzip.open(options.out / "texts.json.gz", "wt", encoding="utf-8") as file:
        json.dump(everything, file, ensure_ascii=False)

    # The library must split as the package does.
    wrong = [t for t in texts if [tuple(map(int, s)) for s in words(t)] != projection.spans(t)]
    unknown = sum(
        int((e == UNKNOWN).sum()) for e in [arrays["train.pieces"], arrays["others.pieces"]]
    )
    sizes = {path.name: path.stat().st_size for path in options.out.iterdir()}
    print(f"{len(kept)} subwords, {len(intents)} intents, {len(tags)} tags")
    print(f"{len(flat)} other texts")
    print(f"sound: {arrays['train.sound'].mean():.5f}, dev {arrays['dev.sound'].mean():.5f}")
    print(f"{len(wrong)} texts split otherwise, {unknown} unknown subwords, {sizes}")


if __name__ == "__main__":
    main()
