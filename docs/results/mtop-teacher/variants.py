"""New texts from old ones: what to hide, and what to make of the guesses."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pieces import BEGIN, END, MASK, SPACE, UNKNOWN, Encoded, Pieces, Ragged, key
from words import Words

Slots = Sequence[tuple[int, int, str]]

# What a hidden subword may become.
GIVEN, BEGINS, GOES_ON = 0, 1, 2
# Where a text is from; the sets of unlabelled text follow in the order of prepare.py's SETS.
TRAIN = 0
GENERATED = 100  # added to the kind of change below
HIDDEN, SLOT, EXCHANGED = 0, 1, 2

_MOST_HIDDEN = 12
_MOST_PIECES = 44


class Drafts(NamedTuple):
    """Texts with hidden subwords.

    Attributes:
        ids: subwords with begin and end marks.
        free: for each what it may become.
        languages, kinds: of each text.
    """

    ids: Ragged
    free: Ragged
    languages: npt.NDArray[np.uint8]
    kinds: npt.NDArray[np.uint8]


class Finished(NamedTuple):
    """New texts.

    Attributes:
        texts: as someone would type them.
        keys: uint64, see :func:`pieces.key`.
        encoded: as the teacher reads them.
        languages, kinds: of each text.
    """

    texts: list[str]
    keys: npt.NDArray[np.uint64]
    encoded: Encoded
    languages: npt.NDArray[np.uint8]
    kinds: npt.NDArray[np.uint8]

    def take(self, rows: npt.NDArray[np.int64]) -> Finished:
        """Some of them."""
        return Finished(
            [self.texts[row] for row in rows], self.keys[rows], self.encoded.take(rows),
            self.languages[rows], self.kinds[rows],
        )  # fmt: skip


class Variants:
    """Hides parts of texts, and makes texts of what was guessed.

    Args:
        data: the folder that prepare.py wrote.
    """

    def __init__(self, data: Path) -> None:
        with gzip.open(data / "texts.json.gz", "rt", encoding="utf-8") as file:
            everything = json.load(file)
        with np.load(data / "arrays.npz") as arrays:
            self._banned = set(arrays["banned"].tolist())
            train_languages = arrays["train.languages"].tolist()
            other_languages = arrays["others.languages"].tolist()
        self.pieces = Pieces(
            everything["pieces"],
            everything["scores"],
            {int(code): text for code, text in everything["normal"].items()},
        )
        self._typed: list[dict[str, str]] = everything["typed"]
        self._words = Words()
        self._rows: list[tuple[str, Slots, int]] = [
            (text, slots, language)
            for text, slots, language in zip(
                everything["train"], everything["slots"], train_languages, strict=True
            )
        ]
        self._values: dict[tuple[int, str], list[str]] = {}
        found: dict[tuple[int, str], dict[str, None]] = {}
        for text, slots, language in self._rows:
            for start, end, label in slots:
                found.setdefault((language, label), {})[text[start:end]] = None
        self._values = {name: list(values) for name, values in found.items()}
        self._rows += [
            (text, [], language)
            for text, language in zip(everything["others"], other_languages, strict=True)
        ]
        self._banned.update(key(text) for text in everything["others"])
        self._begins = np.array([piece.startswith(SPACE) for piece in self.pieces.pieces])
        self._thai = np.array(
            [any("\u0e00" <= c <= "\u0e7f" for c in piece) for piece in self.pieces.pieces]
        )

    def make(self, task: tuple[int, npt.NDArray[np.int64]]) -> Drafts:
        """One draft of each row.

        Args:
            task: seed of what is chosen, and the rows: those of the training set first, then the
                unlabelled ones.
        """
        seed, rows = task
        rng = np.random.default_rng(seed)
        chosen, kinds = [], []
        for row in rows:
            text, slots, language = self._rows[row]
            kind = HIDDEN
            if slots:
                kind = int(rng.choice(3, p=(0.35, 0.2, 0.45)))
            if kind == EXCHANGED:
                text, slots = self._exchanged(text, slots, language, rng)
            chosen.append((text, slots, language))
            kinds.append(kind)
        found = self.pieces.offsets([text for text, _, _ in chosen])
        ids, free, kept = [], [], []
        for number, (own, starts) in enumerate(found):
            if not 2 <= len(own) <= _MOST_PIECES or UNKNOWN in own:
                continue
            draft = self._hidden(np.array(own), starts, chosen[number][1], kinds[number], rng)
            if draft is not None:
                ids.append(draft[0])
                free.append(draft[1])
                kept.append(number)
        return Drafts(
            Ragged.of(ids, np.int32),
            Ragged.of(free, np.int8),
            np.array([chosen[n][2] for n in kept], np.uint8),
            np.array([GENERATED + kinds[n] for n in kept], np.uint8),
        )

    def finish(
        self, guessed: tuple[Ragged, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
    ) -> Finished:
        """New texts only, each once.

        Args:
            guessed: subwords with begin and end marks, languages and kinds.
        """
        ids, languages, kinds = guessed
        texts, kept = [], []
        for row in range(len(ids)):
            own = ids[row][1:-1]
            if (own <= MASK).any():
                continue
            text = self.pieces.text(own.tolist())
            typed = self._typed[languages[row]]
            if typed:
                text = " ".join(typed.get(word, word) for word in text.split())
            texts.append(text)
            kept.append(row)
        rows = np.array(kept, np.int64)
        return self._new(texts, languages[rows], kinds[rows])

    def exchange(self, wanted: int, rng: np.random.Generator) -> Finished:
        """Texts of the training set with other slot values, new ones only, each once.

        Args:
            wanted: texts of each language, before those that are not new are dropped.
            rng: chooses rows and values.
        """
        texts, languages = [], []
        spoken = np.array([language if slots else -1 for _, slots, language in self._rows])
        for language in range(int(spoken.max()) + 1):
            own = np.flatnonzero(spoken == language)
            for row in rng.choice(own, wanted, replace=wanted > len(own)):
                text, slots, _ = self._rows[row]
                texts.append(self._exchanged(text, slots, language, rng)[0])
                languages.append(language)
        kinds = np.full(len(texts), GENERATED + EXCHANGED, np.uint8)
        return self._new(texts, np.array(languages, np.uint8), kinds)

    def _new(
        self, texts: list[str], languages: npt.NDArray[np.uint8], kinds: npt.NDArray[np.uint8]
    ) -> Finished:
        keys, kept = [], []
        seen: set[int] = set()
        for row, text in enumerate(texts):
            number = key(text)
            if number in seen or number in self._banned or not 3 <= len(text) <= 160:
                continue
            seen.add(number)
            keys.append(number)
            kept.append(row)
        texts = [texts[row] for row in kept]
        spans = [self._words(text) for text in texts]
        encoded = self.pieces.encode(texts, spans)
        rows = np.array(kept, np.int64)
        return Finished(texts, np.array(keys, np.uint64), encoded, languages[rows], kinds[rows])

    def _exchanged(
        self, text: str, slots: Slots, language: int, rng: np.random.Generator
    ) -> tuple[str, Slots]:
        parts: list[str] = []
        moved: list[tuple[int, int, str]] = []
        size = at = 0
        for start, end, label in slots:
            value = text[start:end]
            if rng.random() < 0.7:
                values = self._values[language, label]
                value = values[int(rng.integers(len(values)))]
            parts += text[at:start], value
            size += start - at + len(value)
            moved.append((size - len(value), size, label))
            at = end
        return "".join((*parts, text[at:])), moved

    def _hidden(
        self,
        ids: npt.NDArray[np.int64],
        starts: npt.NDArray[np.int64],
        slots: Slots,
        kind: int,
        rng: np.random.Generator,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
        """Subwords with some units hidden; a unit is a word, in Thai a subword."""
        begins, thai = self._begins[ids], self._thai[ids]
        new = begins | thai
        new[0] = True
        units = np.cumsum(new) - 1
        count = int(units[-1]) + 1
        in_slot = np.full(count, -1)
        for number, (start, end, _) in enumerate(slots):
            in_slot[units[(starts >= start) & (starts < end)]] = number
        hide = np.zeros(count, np.bool_)
        if kind == HIDDEN:
            self._hide_some(hide, max(1, round(count * rng.uniform(0.05, 0.35))), rng)
        elif kind == SLOT:
            which = np.flatnonzero(rng.random(len(slots)) < 0.6)
            if not len(which):
                which = rng.integers(len(slots), size=1)
            hide |= np.isin(in_slot, which)
            if rng.random() < 0.4:
                self._hide_carrier(hide, in_slot, 1, rng)
        else:
            self._hide_carrier(hide, in_slot, int(rng.choice(3, p=(0.25, 0.45, 0.3))), rng)
        out, free = [BEGIN], [GIVEN]
        order = np.flatnonzero(new)
        for unit, (first, after) in enumerate(zip(order, [*order[1:], len(ids)], strict=True)):
            if not hide[unit]:
                out += ids[first:after].tolist()
                free += [GIVEN] * (after - first)
                continue
            chance = rng.random()
            if chance < 0.06 and count > 3:
                continue  # leave it out
            size = int(after - first)
            kinds = [BEGINS if b else GOES_ON for b in begins[first:after]]
            if not thai[first] and chance > 0.65:
                size = int(rng.choice((1, 1, 1, 2, 2, 3)))
                kinds = [BEGINS] + [GOES_ON] * (size - 1)
            elif chance < 0.13:
                kinds.append(GOES_ON if thai[first] else BEGINS)
            out += [MASK] * len(kinds)
            free += kinds
        hidden = len(out) - free.count(GIVEN)
        if hidden > _MOST_HIDDEN or len(out) < 3:
            return None
        return np.array([*out, END]), np.array([*free, GIVEN])

    @staticmethod
    def _hide_some(hide: npt.NDArray[np.bool_], wanted: int, rng: np.random.Generator) -> None:
        """Hide units, more often than not next to each other."""
        while hide.sum() < wanted:
            first = int(rng.integers(len(hide)))
            run = min(int(rng.geometric(0.55)), int(wanted - hide.sum()))
            hide[first : first + run] = True

    @staticmethod
    def _hide_carrier(
        hide: npt.NDArray[np.bool_],
        in_slot: npt.NDArray[np.int64],
        wanted: int,
        rng: np.random.Generator,
    ) -> None:
        outside = np.flatnonzero(in_slot < 0)
        if wanted and len(outside):
            first = int(rng.integers(len(outside)))
            hide[outside[first : first + wanted]] = True


_shared: dict[str, Any] = {}


def start(data: Path) -> None:
    """Initializer of a worker process."""
    _shared["variants"] = Variants(data)


def make(task: tuple[int, npt.NDArray[np.int64]]) -> Drafts:
    """:meth:`Variants.make` in a worker process."""
    made: Drafts = _shared["variants"].make(task)
    return made


def finish(task: tuple[Ragged, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]) -> Finished:
    """:meth:`Variants.finish` in a worker process."""
    finished: Finished = _shared["variants"].finish(task)
    return finished
