"""Subwords of the teacher (XLM-R's, cut to those in use), and which of them make up our tokens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

SPACE = "\u2581"
BEGIN, PAD, END, UNKNOWN, MASK = 0, 1, 2, 3, 4  # numbers in the cut vocabulary
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_SARA_AM = ("\u0e4d\u0e32", "\u0e33")  # NFKC takes it apart; nobody types it so
_MOST_PLACES = 7


class Ragged:
    """Arrays of different lengths in one.

    Attributes:
        values: all of them, one after the other.
        starts: int64 ``[n + 1]``, where each begins and the last ends.
    """

    def __init__(self, values: npt.NDArray[Any], starts: npt.NDArray[np.int64]) -> None:
        self.values, self.starts = values, starts

    @classmethod
    def of(cls, parts: Sequence[npt.ArrayLike], dtype: Any) -> Ragged:
        """From a list of arrays."""
        starts = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=starts[1:])  # type: ignore[arg-type]
        values = np.concatenate([np.asarray(p, dtype) for p in parts]) if parts else []
        return cls(np.asarray(values, dtype), starts)

    @classmethod
    def joined(cls, parts: Sequence[Ragged]) -> Ragged:
        """Several, one after the other."""
        sizes = np.concatenate([np.diff(part.starts) for part in parts])
        starts = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        return cls(np.concatenate([part.values for part in parts]), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> npt.NDArray[Any]:
        return self.values[self.starts[row] : self.starts[row + 1]]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """How long each is."""
        return np.diff(self.starts)

    def take(self, rows: npt.NDArray[np.int64]) -> Ragged:
        """These rows, in this order."""
        lengths = self.lengths[rows]
        starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        places = np.arange(starts[-1]) - np.repeat(starts[:-1] - self.starts[rows], lengths)
        return Ragged(self.values[places], starts)

    def padded(self, rows: npt.NDArray[np.int64], width: int, fill: int) -> npt.NDArray[Any]:
        """These rows as a matrix ``[rows, width]``; longer ones are cut."""
        lengths = np.minimum(self.lengths[rows], width)
        places = self.starts[rows][:, None] + np.arange(width)
        inside = np.arange(width) < lengths[:, None]
        return np.where(inside, self.values[np.where(inside, places, 0)], fill)


class Encoded(NamedTuple):
    """Texts as the teacher reads them.

    Attributes:
        pieces: int32, subwords of each text with begin and end marks.
        first, last: int32, for each of our tokens its first and last subword.
        place: int32, how many of our tokens begin in that first subword before this one.
    """

    pieces: Ragged
    first: Ragged
    last: Ragged
    place: Ragged

    def take(self, rows: npt.NDArray[np.int64]) -> Encoded:
        """These texts, in this order."""
        return Encoded(*(part.take(rows) for part in self))

    def arrays(self, prefix: str = "") -> dict[str, npt.NDArray[Any]]:
        """Everything by name, for a file."""
        out = {}
        for name, part in self._asdict().items():
            out[f"{prefix}{name}"] = part.values.astype(np.uint16)
        out[f"{prefix}piece_starts"] = self.pieces.starts
        out[f"{prefix}token_starts"] = self.first.starts
        return out

    @classmethod
    def read(cls, file: Mapping[str, npt.NDArray[Any]], prefix: str = "") -> Encoded:
        """The inverse of :meth:`arrays`."""
        starts = file[f"{prefix}piece_starts"], file[f"{prefix}token_starts"]
        return cls(
            *(
                Ragged(file[f"{prefix}{name}"].astype(np.int32), starts[int(name != "pieces")])
                for name in cls._fields
            )
        )

    @classmethod
    def joined(cls, parts: Sequence[Encoded]) -> Encoded:
        """Several, one after the other."""
        return cls(*(Ragged.joined(list(each)) for each in zip(*parts, strict=True)))


class Pieces:
    """Text to subwords and back.

    Args:
        pieces: the vocabulary; the first five are :data:`SPECIALS`.
        scores: Unigram's.
        normal: what single code points are replaced by.
    """

    def __init__(
        self, pieces: Sequence[str], scores: Sequence[float], normal: Mapping[int, str]
    ) -> None:
        from tokenizers import Tokenizer, models, pre_tokenizers

        self.pieces, self.normal = list(pieces), dict(normal)
        vocabulary = list(zip(self.pieces, map(float, scores), strict=True))
        self._tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=UNKNOWN, byte_fallback=False))
        self._tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            replacement=SPACE, prepend_scheme="always", split=False
        )
        self._plain = re.compile(r"[!-~]+(?: [!-~]+)*")

    def clean(self, text: str) -> tuple[str, npt.NDArray[np.int64] | None]:
        """The text as SentencePiece normalises it, and which character each one was.

        The second is None where nothing changed.
        """
        if self._plain.fullmatch(text):
            return text, None
        out: list[str] = []
        source: list[int] = []
        for position, character in enumerate(text):
            for part in unicodedata.normalize("NFKC", character):
                for new in self.normal.get(ord(part), part):
                    if new == " " and (not out or out[-1] == " "):
                        continue
                    out.append(new)
                    source.append(position)
        while out and out[-1] == " ":
            out.pop()
            source.pop()
        new_text = "".join(out)
        return new_text, None if new_text == text else np.array(source, np.int64)

    def split(self, texts: Sequence[str]) -> list[list[int]]:
        """Subwords of texts, without marks."""
        cleaned = [self.clean(text)[0] for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch(cleaned)]

    def offsets(self, texts: Sequence[str]) -> list[tuple[list[int], npt.NDArray[np.int64]]]:
        """Subwords of texts without marks, and the character where each begins, spaces aside."""
        cleaned = [self.clean(text) for text in texts]
        out = []
        encodings = self._tokenizer.encode_batch([text for text, _ in cleaned])
        for (clean, source), encoding in zip(cleaned, encodings, strict=True):
            starts = np.array(
                [s + (s < e and clean[s : s + 1] == " ") for s, e in encoding.offsets], np.int64
            )
            if source is not None and len(source):
                starts = source[np.minimum(starts, len(source) - 1)]
            out.append((encoding.ids, starts))
        return out

    def encode(
        self, texts: Sequence[str], spans: Sequence[npt.NDArray[np.int32]], most: int = 96
    ) -> Encoded:
        """Texts as the teacher reads them.

        Args:
            texts: ``n`` of them.
            spans: characters of each one's tokens.
            most: subwords of a text; what comes after is left out.
        """
        cleaned = [self.clean(text) for text in texts]
        found = self._tokenizer.encode_batch([text for text, _ in cleaned])
        rows: list[list[npt.ArrayLike]] = [[], [], [], []]
        for (_, source), encoding, own in zip(cleaned, found, spans, strict=True):
            ids = encoding.ids[: most - 2]
            rows[0].append([BEGIN, *ids, END])
            if not ids or not len(own):
                for part in rows[1:]:
                    part.append(np.zeros(len(own), np.int32))
                continue
            offsets = np.array(encoding.offsets[: most - 2], np.int64)
            starts, ends = offsets[:, 0], offsets[:, 1]
            if source is not None:
                starts = source[np.minimum(starts, len(source) - 1)]
                ends = source[np.maximum(ends - 1, 0)] + 1
            limit = len(ids) - 1
            first = np.minimum(np.searchsorted(ends, own[:, 0], "right"), limit)
            last = np.searchsorted(starts, own[:, 1], "left") - 1
            last = np.minimum(np.maximum(last, first), limit)
            order = np.arange(len(own))
            new = np.concatenate(([True], first[1:] != first[:-1]))
            place = order - np.maximum.accumulate(np.where(new, order, 0))
            rows[1].append(first + 1)
            rows[2].append(last + 1)
            rows[3].append(np.minimum(place, _MOST_PLACES))
        return Encoded(*(Ragged.of(part, np.int32) for part in rows))

    def text(self, ids: Iterable[int]) -> str:
        """Subwords without marks to text."""
        joined = "".join(self.pieces[number] for number in ids)
        return joined.replace(SPACE, " ").strip().replace(*_SARA_AM)


def key(text: str) -> int:
    """64 bits of a text, blind to case, spaces and punctuation at its end."""
    from hashlib import blake2b

    normal = " ".join(text.casefold().split()).rstrip(" .?!।").replace(" ", "")
    return int.from_bytes(blake2b(normal.encode("utf-8", "replace"), digest_size=8).digest())
