"""Texts to intents and slots."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _core as native
from .base import FloatArray, Model, Progress, Reporter, Texts, count_or_zero
from .config import PQRNNConfig
from .tags import Slot, TagSet, decode_tags, forbid_tags

__all__ = ["Parse", "ParseLogits", "Parser", "Slot"]

Items: TypeAlias = tuple[str | bytes, ...]
SpanArray: TypeAlias = npt.NDArray[np.int64]

# Texts that are parsed before their slots are read off: at most so many, and about so many
# characters or bytes. The logits of all tokens of a corpus would fill the memory.
_TEXTS_AT_ONCE = 512
_SIZE_AT_ONCE = 1 << 18


class Parse(NamedTuple):
    """What a text asks for.

    Attributes:
        intent: Name of the most probable intent; ``""`` when the model names none.
        score: Probability of that intent, 1 when the model names none.
        slots: Pieces of the text, in the order of the text: ``start`` and ``end`` (exclusive) count
            characters of a ``str``, bytes of a ``bytes``; ``label``; and ``text``, the piece as a
            ``str``.
    """

    intent: str
    score: float
    slots: list[Slot]


class ParseLogits(NamedTuple):
    """What :class:`Parser` decides by.

    Attributes:
        intents: float32 ``[n, intents]``, or ``[intents]`` for one text.
        slots: For each text float32 ``[tokens, tags]``; for one text that alone.
        spans: For each text int64 ``[tokens, 2]``, begin and end of each token in the text:
            characters of a ``str``, bytes of a ``bytes``; for one text that alone.
    """

    intents: FloatArray
    slots: Any
    spans: Any


class Parser(Model):
    """Finds the intent of a text and its slots. Made by :func:`load`, or from a model file's bytes.

    Raises:
        ValueError: The data are damaged, of an unknown format version, of another task, or name
            tags that are none.
    """

    _task = "parsing"

    def _adopt(self, data: bytes, core: native.Model, config: PQRNNConfig) -> None:
        super()._adopt(data, core, config)
        self._tags = TagSet(config.slots, core.transitions)
        self._allowed = allowed_tags(config)

    @property
    def transitions(self) -> FloatArray | None:
        """What it scores that a tag (row) is followed by another (column); None without a CRF."""
        return self._core.transitions

    def parse(
        self,
        texts: Texts,
        *,
        batch_size: int | None = None,
        threads: int | None = None,
        progress: Progress = None,
    ) -> Any:
        """Intent and slots.

        Of all sequences of tags in which each ``I-X`` goes on a slot X and that the intent may
        have (``config.intent_tags``), slots are read off the one with the largest sum of logits
        and, where the model has a CRF, of transitions. A text has the same parse whatever its
        neighbours, ``batch_size`` and ``threads``.

        Args:
            texts: As for :meth:`Encoder.encode`, like the other arguments.
            batch_size: Texts that go through the network together.
            threads: Upper limit of threads.
            progress: Callable or True.

        Returns:
            A list with a :class:`Parse` for each text, or that alone for one text. A text without
            tokens has an intent, but no slots.

        Raises:
            TypeError: As :meth:`Encoder.encode`.
            ValueError: As :meth:`Encoder.encode`.
        """
        items = _items(texts)
        threads = count_or_zero("threads", threads)
        batch_size = count_or_zero("batch_size", batch_size)
        found: list[Parse] = []
        if progress is None or progress is False:
            for part in _parts(items):
                found += self._parse(part, threads, batch_size)
        else:
            with Reporter(progress, len(items)) as report:
                for part in _parts(items):
                    found += self._parse(part, threads, batch_size)
                    if report is not None:
                        report(len(found), len(items))
        return found[0] if isinstance(texts, str | bytes) else found

    def logits(
        self, texts: Texts, *, batch_size: int | None = None, threads: int | None = None
    ) -> ParseLogits:
        """What the network says of intents and tags, before a decision.

        Args:
            texts: As for :meth:`Encoder.encode`, like the other arguments.
            batch_size: Texts that go through the network together.
            threads: Upper limit of threads.

        Returns:
            :class:`ParseLogits`; columns are in the order of ``config.intents`` and
            ``config.slots``.

        Raises:
            TypeError: As :meth:`Encoder.encode`.
            ValueError: As :meth:`Encoder.encode`.
        """
        threads = count_or_zero("threads", threads)
        batch_size = count_or_zero("batch_size", batch_size)
        intents, offsets, spans, slots = self._core.parse(_items(texts), threads, batch_size, False)
        if isinstance(texts, str | bytes):
            return ParseLogits(intents[0], slots, spans)
        pieces = [slice(a, b) for a, b in pairwise(offsets.tolist())]
        return ParseLogits(
            intents, [slots[piece] for piece in pieces], [spans[piece] for piece in pieces]
        )

    def _parse(self, items: Items, threads: int, batch_size: int) -> list[Parse]:
        intents, offsets, spans, slots = self._core.parse(items, threads, batch_size, True)
        if self._allowed is not None:
            forbid_tags(slots, offsets, intents.argmax(axis=1), self._allowed)
        names = self._tags.names
        tags = [names[k] for k in self._tags.best(slots, offsets).tolist()]
        places = [(a, b) for a, b in spans.tolist()]
        borders = offsets.tolist()
        found = []
        for row, text in enumerate(items):
            tokens = slice(borders[row], borders[row + 1])
            intent, score = "", 1.0
            if len(intents[row]):
                best = int(intents[row].argmax())
                intent, score = self._config.intents[best], float(intents[row, best])
            found.append(Parse(intent, score, _slots(text, places[tokens], tags[tokens])))
        return found


def allowed_tags(config: PQRNNConfig) -> npt.NDArray[np.bool_] | None:
    """``config.intent_tags`` as a table, bool ``[intents, tags]``; None when it is empty."""
    if not config.intent_tags:
        return None
    table = np.zeros((len(config.intents), len(config.slots)), np.bool_)
    for intent, numbers in enumerate(config.intent_tags):
        table[intent, list(numbers) or slice(None)] = True
    return table


def _items(texts: Any) -> Items:
    if isinstance(texts, str | bytes):
        return (texts,)
    items = tuple(texts) if hasattr(texts, "__iter__") else texts
    native.Texts(items)  # raises for the first item that is no text
    return items


def _parts(items: Items) -> Iterator[Items]:
    begin = size = 0
    for end, text in enumerate(items, start=1):
        size += len(text)
        if end - begin == _TEXTS_AT_ONCE or size >= _SIZE_AT_ONCE or end == len(items):
            yield items[begin:end]
            begin, size = end, 0


def _slots(text: str | bytes, spans: list[tuple[int, int]], tags: list[str]) -> list[Slot]:
    if isinstance(text, str):
        return [Slot(a, b, label, text[a:b]) for a, b, label in decode_tags(spans, tags)]
    # A border inside a token is a number of characters, whatever the text is given as.
    in_characters = native.to_char_spans(text, spans)
    begins = [begin for begin, _ in in_characters]

    def byte_at(place: int) -> int:
        token = bisect_right(begins, place) - 1
        (begin, end), inside = spans[token], place - begins[token]
        if place == in_characters[token][1]:
            return end
        # Ill-formed bytes are one character each, but longer once they are written again.
        piece = text[begin:end].decode("utf-8", "replace")[:inside]
        return min(begin + len(piece.encode()), end)

    found = []
    for a, b, label in decode_tags(in_characters, tags):
        start, end = byte_at(a), byte_at(b)
        found.append(Slot(start, end, label, text[start:end].decode("utf-8", "replace")))
    return found
