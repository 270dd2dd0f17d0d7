"""What a teacher says of texts: probabilities of intents or labels and of tags, kept in a file.

The teacher may be anything; its tags are those of our tokens (``Projection.spans``), so whoever has
subwords brings them together first. Of each distribution the largest few are kept.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..checkpoint import write_whole
from ..config import PQRNNConfig

__all__ = ["SoftLabels", "SoftTargets"]

FloatArray = npt.NDArray[np.floating]

_KEY_BYTES = 16
_FORMAT = 1


class SoftTargets(NamedTuple):
    """Distributions of a batch; a row of zeros where the teacher said nothing.

    Attributes:
        sentence: float32 ``[n, intents or labels]``.
        tags: float32 ``[tokens, tags]``, begin and end marks included.
        known: where a text may have several labels, bool ``[n]``: whether the teacher said
            something of it, since a row of zeros then says that it has no label. Else None.
    """

    sentence: npt.NDArray[np.float32]
    tags: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_] | None = None


class SoftLabels:
    """Distributions of many texts, found by the text itself.

    Attributes:
        intents, slots: names that the numbers stand for.
        multi_label: whether each label has a probability of its own.

    Args:
        texts: ``n`` of them.
        intents: names of the columns of each text's intent probabilities. Of a classifier they are
            its labels, of a tagger there are none.
        slots: names of the columns of its tokens' tag probabilities; none of a classifier.
        predictions: for each text in turn the probabilities of its intent ``[intents]`` and of its
            tokens' tags ``[its tokens, slots]``.
        top: how many of each distribution are kept.
        multi_label: a text may have any number of the labels, so that their probabilities are no
            distribution; all are kept.

    Raises:
        ValueError: A prediction of another shape, or not as many as texts.
    """

    def __init__(
        self,
        texts: Sequence[str],
        intents: Sequence[str],
        slots: Sequence[str],
        predictions: Iterable[tuple[FloatArray, FloatArray]],
        *,
        top: int = 6,
        multi_label: bool = False,
    ) -> None:
        self.intents, self.slots, self.multi_label = tuple(intents), tuple(slots), multi_label
        kept = len(intents) if multi_label else top
        # Each text is cut down as it comes: all tags of all tokens would fill the memory.
        sentences = [_largest(np.zeros((0, len(intents))), kept)]
        tokens = [_largest(np.zeros((0, len(slots))), top)]
        for text, (sentence, tags) in zip(texts, predictions, strict=True):
            if np.shape(sentence) != (len(intents),) or np.shape(tags)[1:] != (len(slots),):
                raise ValueError(
                    f"predictions must be [{len(intents)}] and [tokens, {len(slots)}], got "
                    f"{np.shape(sentence)} and {np.shape(tags)} for {text!r}"
                )
            sentences.append(_largest(np.asarray(sentence)[None], kept))
            tokens.append(_largest(np.asarray(tags), top))
        counts = [len(numbers) for numbers, _ in tokens]
        self._arrays: dict[str, npt.NDArray[Any]] = {
            "keys": np.frombuffer(b"".join(map(_key, texts)), np.uint8).reshape(-1, _KEY_BYTES),
            "starts": np.cumsum(counts).astype(np.int64),
        }
        for name, parts in (("intent", sentences), ("tag", tokens)):
            self._arrays[f"{name}_numbers"] = np.concatenate([numbers for numbers, _ in parts])
            self._arrays[f"{name}_shares"] = np.concatenate([shares for _, shares in parts])
        self._index()

    def _index(self) -> None:
        self._rows: dict[bytes, int] = {
            row.tobytes(): n for n, row in enumerate(self._arrays["keys"])
        }

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, text: str) -> bool:
        return _key(text) in self._rows

    def digest(self) -> str:
        """BLAKE2b-128 of everything, in hexadecimal."""
        state = hashlib.blake2b("\n".join((*self.intents, *self.slots)).encode(), digest_size=16)
        state.update(b"multi_label" if self.multi_label else b"")
        for name in sorted(self._arrays):
            state.update(np.ascontiguousarray(self._arrays[name]).tobytes())
        return state.hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a NumPy ``.npz`` file.

        Raises:
            OSError: It cannot be written.
        """
        arrays: dict[str, Any] = {
            "format": np.array(_FORMAT), "intents": np.array(self.intents, str),
            "slots": np.array(self.slots, str), "multi_label": np.array(self.multi_label),
            **self._arrays,
        }  # fmt: skip
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_whole(path, [buffer.getbuffer()])

    @classmethod
    def load(cls, path: str | Path) -> SoftLabels:
        """The inverse of :meth:`save`.

        Raises:
            ValueError: The file is none of ours.
            OSError: It cannot be read.
        """
        wanted = ("keys", "starts", "intent_numbers", "intent_shares", "tag_numbers", "tag_shares")
        try:
            with np.load(path, allow_pickle=False) as file:
                if int(file["format"]) != _FORMAT:
                    raise ValueError(f"format {file['format']}")
                found: SoftLabels = cls.__new__(cls)
                found.intents = tuple(map(str, file["intents"]))
                found.slots = tuple(map(str, file["slots"]))
                # Files from before there were labels do not say it.
                found.multi_label = "multi_label" in file and bool(file["multi_label"])
                found._arrays = {name: file[name] for name in wanted}
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"{os.fspath(path)!r} holds no soft labels: {error}") from None
        found._index()
        return found

    def check(self, config: PQRNNConfig) -> None:
        """Make sure that a model can learn something from them.

        Raises:
            ValueError: Only one of the two has ``multi_label``, or they have no name in common.
        """
        if self.intents and self.multi_label != config.multi_label:
            several = ("one label a text", "several labels a text")
            raise ValueError(
                f"soft labels must be of {several[config.multi_label]} for this model, "
                f"got {several[self.multi_label]}"
            )
        names = {*self.intents, *self.slots}
        known = {*config.labels, *config.intents, *config.slots} - {"O"}
        if known and not names & known:
            raise ValueError(
                f"soft labels must have names of the model, such as {min(known)!r}, "
                f"got {sorted(names)[:3]}"
            )

    def targets(
        self, texts: Sequence[str], lengths: npt.NDArray[np.int64], config: PQRNNConfig
    ) -> SoftTargets:
        """What the teacher says of a batch, in the columns of a model.

        Names that the model does not have lose their share: the others are scaled to sum to 1,
        unless there may be several labels. A text whose tokens the teacher counted otherwise has no
        tags.

        Args:
            texts: ``n`` of them.
            lengths: tokens of each, begin and end marks included.
            config: of the model, which has :attr:`multi_label` too or neither has.
        """
        marks = int(config.projection.bos), int(config.projection.eos)
        names = config.labels or config.intents
        sentence = np.zeros((len(texts), len(names)), np.float32)
        known = np.zeros(len(texts), np.bool_)
        tags = np.zeros((int(lengths.sum()), len(config.slots)), np.float32)
        intents = _places(self.intents, names)
        slots = _places(self.slots, config.slots)
        arrays = self._arrays
        end = 0
        for n, (text, length) in enumerate(zip(texts, lengths.tolist(), strict=True)):
            first, end = end + marks[0], end + length
            row = self._rows.get(_key(text))
            if row is None:
                continue
            known[n] = True
            numbers, shares = arrays["intent_numbers"][row], arrays["intent_shares"][row]
            _spread(
                sentence[n : n + 1],
                intents[numbers][None],
                shares[None],
                scale=not self.multi_label,
            )
            begin, stop = arrays["starts"][row : row + 2]
            if stop - begin != end - marks[1] - first:
                continue
            numbers, shares = arrays["tag_numbers"][begin:stop], arrays["tag_shares"][begin:stop]
            _spread(tags[first : end - marks[1]], slots[numbers], shares)
        return SoftTargets(sentence, tags, known if self.multi_label else None)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()


def _largest(rows: FloatArray, top: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float16]]:
    """Columns and values of the largest numbers of each row."""
    numbers = np.argsort(-rows, axis=1, kind="stable")[:, :top]
    shares = np.take_along_axis(rows, numbers, axis=1)
    return numbers.astype(np.uint16), shares.astype(np.float16)


def _places(names: Sequence[str], known: Sequence[str]) -> npt.NDArray[np.int64]:
    """Column of each name, -1 where there is none."""
    columns = {name: n for n, name in enumerate(known)}
    return np.array([columns.get(name, -1) for name in names], np.int64)


def _spread(
    out: npt.NDArray[np.float32],
    columns: npt.NDArray[np.int64],
    shares: npt.NDArray[Any],
    *,
    scale: bool = True,
) -> None:
    """out[i, columns[i, j]] = shares[i, j]; with ``scale`` each row sums to 1 or is zero."""
    kept = np.where(columns >= 0, shares.astype(np.float32), 0)
    if scale:
        sums = kept.sum(axis=1, keepdims=True)
        kept /= np.where(sums > 0, sums, 1)
    rows = np.broadcast_to(np.arange(len(out))[:, None], columns.shape)
    known = columns >= 0
    out[rows[known], columns[known]] = kept[known]
