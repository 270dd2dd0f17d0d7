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

from . import _core as native

__all__ = [
    "Slot",
    "Span",
    "SpanLabel",
    "TagSet",
    "collect_tags",
    "collect_tags_by_intent",
    "constrained",
    "decode_tags",
    "encode_tags",
    "forbid_tags",
]

Span: TypeAlias = tuple[int, int]
SpanLabel: TypeAlias = tuple[int, int, str]

_MOST_TAGS = 4096  # of a set: what may follow what is a square matrix
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


def collect_tags_by_intent(
    items: Iterable[tuple[str, Iterable[SpanLabel]]],
    intents: Sequence[str],
    tags: Sequence[str],
    min_texts: int = 20,
) -> tuple[tuple[int, ...], ...]:
    """For each intent the numbers of the tags whose labels its texts have, or none for all tags.

    Args:
        items: intent and slots of each text.
        intents: the names, in the order of the result.
        tags: the names that are numbered.
        min_texts: an intent of fewer texts may have all tags, since those do not tell much.
    """
    texts: Counter[str] = Counter()
    labels: dict[str, set[str]] = {}
    for intent, slots in items:
        texts[intent] += 1
        labels.setdefault(intent, {""}).update(label for _, _, label in slots)
    parsed = [_parse(tag) for tag in tags]
    return tuple(
        tuple(
            number
            for number, tag in enumerate(parsed)
            if {tag.left.label, tag.right.label} <= labels[intent]
        )
        if texts[intent] >= min_texts
        else ()
        for intent in intents
    )


def forbid_tags(
    logits: npt.NDArray[np.floating],
    offsets: npt.ArrayLike,
    intents: npt.NDArray[np.integer],
    allowed: npt.NDArray[np.bool_],
) -> None:
    """Make the logits of tags that the intents of their texts do not have -infinity, in place.

    Args:
        logits: ``[tokens, tags]``.
        offsets: ``[n + 1]``, where each of n texts begins and the last ends.
        intents: ``[n]``, their numbers.
        allowed: ``[intents, tags]``.
    """
    rows = np.repeat(intents, np.diff(offsets))
    logits[~allowed[rows]] = -np.inf


class TagSet:
    """A list of tags, and which may follow which. Immutable in use, picklable, safe to share.

    Args:
        names: the tags, all different, in the order of a model's outputs; at most 4096.
        transitions: ``[tags, tags]``, what it scores that a tag (row) is followed by another
            (column); None: nothing.

    Attributes:
        names: the tags.
        allowed: bool ``[tags, tags]``, whether a tag (row) may be followed by another (column): an
            ``I-X`` follows an X alone. What a divided tag needs before it is its left part's
            matter; what may follow it, its right part's.
        starts: bool ``[tags]``, whether a text may begin with it.

    Raises:
        ValueError: no tag, too many, one that is not a tag, one that occurs twice, or none that may
            begin a text; transitions of another shape.
    """

    def __init__(self, names: Iterable[str], transitions: npt.ArrayLike | None = None) -> None:
        self.names = tuple(names)
        self._ids = {name: number for number, name in enumerate(self.names)}
        if len(self._ids) != len(self.names):
            raise ValueError(f"tags must be different from each other: {self.names}")
        count = len(self.names)
        if count > _MOST_TAGS:
            raise ValueError(f"there must be at most {_MOST_TAGS} tags, got {count}")
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
        self.starts = np.array([s and not n for s, n in zip(sound, needed, strict=True)], np.bool_)
        if not self.starts.any():
            raise ValueError(f"no tag may begin a text, 'O' is missing: {self.names}")
        labels = {"": 0}
        left = np.array([labels.setdefault(label, len(labels)) for label in needed])
        right = np.array([labels.setdefault(tag.right.label, len(labels)) for tag in tags])
        self.allowed = ((left == 0) | (right[:, None] == left)) & np.array(sound)
        shape, never = (count, count), np.float32(-np.inf)
        learned = np.zeros(shape, np.float32) if transitions is None else np.asarray(transitions)
        if learned.shape != shape:
            raise ValueError(f"transitions must be [{count}, {count}], got {learned.shape}")
        self._scores = np.where(self.allowed, learned.astype(np.float32), never)
        self._start_scores = np.where(self.starts, np.float32(0), never)

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TagSet) or self.names != other.names:
            return False
        return np.array_equal(self._scores, other._scores)

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
        self, logits: npt.NDArray[np.floating], offsets: npt.ArrayLike | None = None
    ) -> npt.NDArray[np.int64]:
        """Numbers of the best valid tags, int64 ``[tokens]``.

        Those with the largest sum of logits and transitions, in float32; of several, at each token
        from the last on, the first tag. A logit that is NaN counts as the smallest.

        Args:
            logits: ``[tokens, tags]``.
            offsets: ``[n + 1]``, where each of n texts begins and the last ends; None: one text.

        Raises:
            ValueError: another shape.
        """
        if logits.ndim != 2 or logits.shape[1] != len(self.names):
            raise ValueError(f"logits must be [tokens, {len(self.names)}], got {logits.shape}")
        borders = np.ascontiguousarray([0, len(logits)] if offsets is None else offsets, np.int64)
        rows = np.ascontiguousarray(logits, np.float32)
        return native.best_tags(rows, borders, self._scores, self._start_scores)

    def spans(self, logits: npt.NDArray[np.floating], spans: Sequence[Span]) -> list[SpanLabel]:
        """Start, end and label of each slot of one text.

        Args:
            logits: ``[tokens, tags]``.
            spans: start and end of each token.

        Raises:
            ValueError: another shape, or not as many rows as tokens.
        """
        return decode_tags(spans, [self.names[k] for k in self.best(logits)])


def constrained(
    logits: npt.NDArray[np.floating],
    tag_names: Iterable[str],
    transitions: npt.ArrayLike | None = None,
) -> npt.NDArray[np.int64]:
    """`TagSet.best` for one text and a set used once."""
    return TagSet(tag_names, transitions).best(logits)
