"""Slots of a text as one tag per token, and back; the best valid sequence of tags.

A tag is ``"O"`` (outside), ``"B-X"`` (a slot X begins here), ``"I-X"`` (it goes on), or *divided*,
``"LEFT@n|RIGHT"``: a slot's border lies inside the token, ``n`` characters after its start or, with
``n < 0``, before its end. Spanish "recuérdame" with a slot "me" is ``"O@-2|B-SL:PERSON_REMINDED"``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "Slot",
    "Span",
    "SpanLabel",
    "TagSet",
    "collect_tags",
    "constrained",
    "decode_tags",
    "encode_tags",
]

Span: TypeAlias = tuple[int, int]
SpanLabel: TypeAlias = tuple[int, int, str]

_DIVIDED = re.compile(r"(.+)@(-?[1-9]\d*)\|(.+)", re.DOTALL)


class Slot(NamedTuple):
    """A labelled piece of a text: ``text == whole[start:end]``."""

    start: int
    end: int
    label: str
    text: str


class _Part(NamedTuple):
    begins: bool
    label: str  # "" is outside


class _Tag(NamedTuple):
    left: _Part
    border: int  # 0: the tag is not divided, and left is right
    right: _Part


def _parse_plain(tag: str, whole: str) -> _Part:
    if tag == "O":
        return _Part(False, "")
    kind, _, label = tag.partition("-")
    if kind not in ("B", "I") or not label:
        raise ValueError(f"a tag is 'O', 'B-X', 'I-X' or 'LEFT@n|RIGHT', got {whole!r}")
    return _Part(kind == "B", label)


@lru_cache(maxsize=65536)
def _parse(tag: str) -> _Tag:
    divided = _DIVIDED.fullmatch(tag)
    if divided is None:
        part = _parse_plain(tag, tag)
        return _Tag(part, 0, part)
    left, border, right = divided.groups()
    return _Tag(_parse_plain(left, tag), int(border), _parse_plain(right, tag))


@lru_cache(maxsize=65536)
def _plain_names(label: str) -> tuple[str, str]:
    names = f"B-{label}", f"I-{label}"
    if not label or _DIVIDED.fullmatch(names[0]):
        raise ValueError(f"a slot's label must not be empty nor read as a divided tag: {label!r}")
    return names


def _ordered(slots: Iterable[SpanLabel]) -> list[SpanLabel]:
    ordered = sorted(slots)
    end = 0
    for slot in ordered:
        if not end <= slot[0] < slot[1]:
            raise ValueError(f"slots must neither be empty, negative nor overlap: {ordered}")
        end = slot[1]
    return ordered


def _encode(
    spans: Sequence[Span],
    slots: Iterable[SpanLabel],
    choose: Callable[[str, str], str | None],
) -> list[str]:
    """As `encode_tags`; ``choose`` picks between the two names of a divided tag, or neither."""
    tags = ["O"] * len(spans)
    ordered = _ordered(slots)
    first = 0  # the first slot that ends after the token's start
    last = -1  # the slot of the part before
    for position, (start, end) in enumerate(spans):
        while first < len(ordered) and ordered[first][1] <= start:
            first += 1
        if first == len(ordered):
            break
        if end <= ordered[first][0] or start == end:
            last = -1
            continue
        # The token's parts: a slot's number, or -1 outside, and where the part ends.
        owners, borders, at = [], [], start
        for number in range(first, len(ordered)):
            slot_start, slot_end, _ = ordered[number]
            if slot_start >= end:
                break
            if slot_start > at:
                owners.append(-1)
                borders.append(slot_start)
            at = min(slot_end, end)
            owners.append(number)
            borders.append(at)
        if at < end:
            owners.append(-1)
            borders.append(end)
        if len(owners) == 2:
            names = ["O" if n < 0 else _plain_names(ordered[n][2])[int(n == last)] for n in owners]
            after, before = borders[0] - start, borders[0] - end
            pair = [f"{names[0]}@{n}|{names[1]}" for n in (before, after)]
            # The shorter part names it: words have few endings and few elided articles.
            chosen = choose(*pair) if -before <= after else choose(*pair[::-1])
            if chosen is not None:
                tags[position] = chosen
                last = owners[1]
                continue
        if len(owners) > 1:
            sizes = np.diff([start, *borders])
            owner = max(
                (k for k in range(len(owners)) if owners[k] >= 0), key=lambda k: (sizes[k], -k)
            )
            winner = owners[owner]
        else:
            winner = owners[0]
        tags[position] = _plain_names(ordered[winner][2])[int(winner == last)]
        last = winner
    return tags


def encode_tags(
    spans: Sequence[Span], slots: Iterable[SpanLabel], allowed: Container[str] | None = None
) -> list[str]:
    """One tag for each token.

    A token that overlaps a slot belongs to it; of several slots, to the one it shares most
    characters with. A single border inside a token makes a divided tag.

    Args:
        spans: start and end of each token, ascending.
        slots: start, end and label of each slot, in any order.
        allowed: the divided tags that may be used; None: all.

    Raises:
        ValueError: slots overlap, or one is empty or has a label that cannot be told from a tag.
    """

    def choose(first: str, second: str) -> str | None:
        if allowed is None or first in allowed:
            return first
        return second if second in allowed else None

    return _encode(spans, slots, choose)


def decode_tags(spans: Sequence[Span], tags: Sequence[str]) -> list[SpanLabel]:
    """Start, end and label of each slot, ascending: the inverse of `encode_tags`.

    An ``I-X`` that continues no X begins a slot, as in conlleval. Where a token is too short for a
    divided tag's border, the part that has no room is left out.

    Raises:
        ValueError: not as many tags as tokens, or something that is no tag.
    """
    if len(spans) != len(tags):
        raise ValueError(f"there must be one tag per token, got {len(tags)} for {len(spans)}")
    slots: list[SpanLabel] = []
    current = ""  # label of the slot that is the last of `slots` and may still grow

    def add(part: _Part, start: int, end: int) -> None:
        nonlocal current
        if part.label and part.label == current and not part.begins:
            slots[-1] = (slots[-1][0], end, current)
        elif part.label:
            slots.append((start, end, part.label))
        current = part.label

    for (start, end), name in zip(spans, tags, strict=True):
        if name == "O":
            current = ""
            continue
        tag = _parse(name)
        if not tag.border:
            add(tag.left, start, end)
            continue
        border = min(start + tag.border, end) if tag.border > 0 else max(end + tag.border, start)
        if border > start:
            add(tag.left, start, border)
        if border < end:
            add(tag.right, border, end)
    return slots


def collect_tags(
    items: Iterable[tuple[Sequence[Span], Iterable[SpanLabel]]], min_count: int = 3
) -> tuple[str, ...]:
    """The tags that a model of this data needs, ``"O"`` first, the others sorted.

    Args:
        items: token spans and slots of each text.
        min_count: how often a divided tag must occur to be kept. ``B-X`` and ``I-X`` are there for
            every label.

    Raises:
        ValueError: as `encode_tags`.
    """
    labels: set[str] = set()
    pairs: Counter[tuple[str, str]] = Counter()

    def record(first: str, second: str) -> str:
        pairs[first, second] += 1
        return first

    for spans, slots in items:
        slots = list(slots)
        labels.update(label for _, _, label in slots)
        _encode(spans, slots, record)
    # A border has two names; the one that more tokens can share wins.
    either: Counter[str] = Counter()
    for pair, count in pairs.items():
        for name in pair:
            either[name] += count
    kept: Counter[str] = Counter()
    for pair, count in pairs.items():
        kept[max(pair, key=either.__getitem__)] += count
    divided = [name for name, count in kept.items() if count >= min_count]
    return ("O", *sorted([*divided, *(name for label in labels for name in _plain_names(label))]))


class TagSet:
    """A list of tags, and which may follow which. Immutable in use, picklable, safe to share.

    Args:
        names: the tags, all different, in the order of a model's outputs.

    Attributes:
        names: the tags.

    Raises:
        ValueError: no tag, one that is not a tag, one that occurs twice, or none that may begin
            a text.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self._ids = {name: number for number, name in enumerate(self.names)}
        if len(self._ids) != len(self.names):
            raise ValueError(f"tags must be different from each other: {self.names}")
        tags = [_parse(name) for name in self.names]
        # Only I-X asks for something before it, an X; a divided tag must also fit within itself.
        needed = ["" if tag.left.begins else tag.left.label for tag in tags]
        sound = [
            not tag.border
            or tag.right.begins
            or not tag.right.label
            or tag.right.label == tag.left.label
            for tag in tags
        ]
        starts = np.array([s and not n for s, n in zip(sound, needed, strict=True)], np.bool_)
        if not starts.any():
            raise ValueError(f"no tag may begin a text, 'O' is missing: {self.names}")
        # Group 0: whatever comes before; then one group for each label that is asked for, with the
        # tags that end in it, padded by a column of its own that no path goes through.
        labels = sorted({n for n in needed if n})
        members = [[k for k, t in enumerate(tags) if t.right.label == label] for label in labels]
        width = max((len(m) for m in members), default=1)
        self._group = np.array([labels.index(n) + 1 if n else 0 for n in needed], np.intp)
        self._members = np.array(
            [m + [len(tags)] * (width - len(m)) for m in members], np.intp
        ).reshape(len(labels), width)
        self._start = np.where(starts, 0.0, -np.inf)
        self._sound = np.where(sound, 0.0, -np.inf)
        follows = np.array([[not n or t.right.label == n for n in needed] for t in tags], np.bool_)
        self._follows = follows & np.array(sound, np.bool_)

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TagSet) and self.names == other.names

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        return f"TagSet({self.names!r})"

    def ids(self, tags: Iterable[str]) -> npt.NDArray[np.int64]:
        """Numbers of tags, int64 ``[n]``.

        Raises:
            ValueError: a tag that is not in the set.
        """
        try:
            return np.array([self._ids[tag] for tag in tags], np.int64)
        except KeyError as error:
            raise ValueError(f"tag {error} is not in the set") from None

    def encode(self, spans: Sequence[Span], slots: Iterable[SpanLabel]) -> npt.NDArray[np.int64]:
        """Numbers of the tags of `encode_tags`, int64 ``[tokens]``, divided where the set allows.

        Raises:
            ValueError: as `encode_tags`, or a label of which the set lacks the tags.
        """
        return self.ids(encode_tags(spans, slots, self._ids))

    def best(
        self, logits: npt.NDArray[np.floating], offsets: Sequence[int] | None = None
    ) -> npt.NDArray[np.int64]:
        """Numbers of the best-scoring tags in which each ``I-X`` follows an X: int64 ``[tokens]``.

        What a divided tag needs before it is its left part's matter; what may follow it, its right
        part's.

        Args:
            logits: ``[tokens, tags]``.
            offsets: ``[n + 1]``, where each of n texts begins and the last ends; None: one text.

        Raises:
            ValueError: another shape.
        """
        if logits.ndim != 2 or logits.shape[1] != len(self.names):
            raise ValueError(f"logits must be [tokens, {len(self.names)}], got {logits.shape}")
        borders = [0, len(logits)] if offsets is None else [int(n) for n in offsets]
        if borders[:1] != [0] or borders[-1] != len(logits) or sorted(borders) != borders:
            raise ValueError(f"offsets must ascend from 0 to {len(logits)}, got {borders}")
        # Where the best tags by themselves are valid, nothing can be better.
        ids: npt.NDArray[np.int64] = logits.argmax(axis=1).astype(np.int64)
        valid = np.ones(len(ids), np.bool_)
        valid[1:] = self._follows[ids[:-1], ids[1:]]
        begins = [n for n in borders[:-1] if n < len(ids)]
        valid[begins] = self._start[ids[begins]] == 0
        broken = np.searchsorted(borders, np.flatnonzero(~valid), side="right")
        for number in np.unique(broken):
            start, end = borders[number - 1], borders[number]
            ids[start:end] = self._viterbi(logits[start:end])
        return ids

    def spans(self, logits: npt.NDArray[np.floating], spans: Sequence[Span]) -> list[SpanLabel]:
        """Start, end and label of each slot of one text.

        Args:
            logits: ``[tokens, tags]``.
            spans: start and end of each token.

        Raises:
            ValueError: another shape, or not as many rows as tokens.
        """
        return decode_tags(spans, [self.names[k] for k in self.best(logits)])

    def _viterbi(self, logits: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
        steps, tags = logits.shape
        groups = np.arange(len(self._members))
        # The last column is the padding of `_members`.
        score = np.full(tags + 1, -np.inf)
        score[:tags] = logits[0] + self._start
        best = np.empty(len(groups) + 1)
        back = np.empty((steps, len(groups) + 1), np.intp)
        for step in range(1, steps):
            back[step, 0] = score.argmax()
            candidates = score[self._members]
            winner = candidates.argmax(axis=1)
            back[step, 1:] = self._members[groups, winner]
            best[0] = score[back[step, 0]]
            best[1:] = candidates[groups, winner]
            score[:tags] = best[self._group] + logits[step] + self._sound
        ids = np.empty(steps, np.int64)
        ids[-1] = score[:tags].argmax()
        for step in range(steps - 1, 0, -1):
            ids[step - 1] = back[step, self._group[ids[step]]]
        return ids


def constrained(
    logits: npt.NDArray[np.floating], tag_names: Iterable[str]
) -> npt.NDArray[np.int64]:
    """`TagSet.best` for one text and a set used once."""
    return TagSet(tag_names).best(logits)
