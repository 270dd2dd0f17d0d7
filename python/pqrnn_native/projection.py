"""Text to ternary features, without a vocabulary.

Specification: the published operators ``SequenceStringProjection`` (V1) and
``SequenceStringProjectionV2`` of seq_flow_lite, bit for bit, and a third way to split a text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _core as native
from .config import Char, Hash, ProjectionConfig, Split

__all__ = ["Nonzero", "Projection", "english_tokens"]

Text: TypeAlias = str | bytes
Texts: TypeAlias = str | bytes | Iterable[str] | Iterable[bytes]

# Published attribute names and ours.
_PUBLISHED_NAMES = {
    "hash": "hashtype",
    "max_tokens": "max_splits",
    "distortion": "distortion_probability",
    "alphabetic_only": "exclude_nonalphaspace_unicodes",
    "bos": "add_bos_tag",
    "eos": "add_eos_tag",
    "first_cap": "add_first_cap_feature",
    "all_caps": "add_all_caps_feature",
    "novelty_bits": "word_novelty_bits",
    "separators": "token_separators",
}


class Nonzero(NamedTuple):
    """Rows of features without their zeros.

    Attributes:
        starts: int64 ``[rows + 1]``; row r has the entries ``starts[r]:starts[r + 1]`` of the
            others.
        columns: int64 ``[entries]``, ascending in a row.
        signs: int8 ``[entries]``, +1 or -1.
    """

    starts: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    signs: npt.NDArray[np.int8]


class Projection:
    """Projects texts to features in {-1, 0, +1}: hash each token, two bits per feature.

    Immutable, hashable, comparable by its settings, picklable, and safe to share between threads.
    A ``str`` counts as its UTF-8 bytes, each lone surrogate as U+FFFD. Any bytes are welcome:
    with ``split="words"`` ill-formed UTF-8 counts as U+FFFD; with the two published ways to split
    it ends the word (``"space"``) or the text (``"codepoints"``), as in the published operator.

    Args:
        feature_size: Features F of a token, 1 to 65536.
        split: ``"words"``: Unicode word boundaries, punctuation apart, by grapheme cluster in
            scripts without spaces, by syllable or part of one in Thai and Lao. ``"space"``: byte
            0x20 and nothing else. ``"codepoints"``: every character is a token.
        hash: ``"murmur"``; ``"xfixhash8"``, ``"xfixhash16"`` or ``"xfixhash32"``, which keep
            prefixes and suffixes; ``"unicodehash8"`` or ``"unicodehash16"``, which keep positions.
        char: ``"unsigned"``: every byte of a word counts. ``"signed"``: what the public code does
            on x86, where e-acute equals e-grave. It matters to ``"murmur"`` and non-ASCII
            words alone.
        lower: Lower-case each token by Unicode's simple mapping.
        bos: Put a position ``<BOS>`` before the tokens.
        eos: Put a position ``<EOS>`` after the tokens.
        max_tokens: Keep that many tokens, drop the rest; 0 or less: keep all. With
            ``split="space"``, a double space right at the limit costs one token more.
        vocabulary: Characters to keep in words; empty: all. Upper-case ones count for nothing.
        alphabetic_only: Keep letters and spaces (Unicode's property Alphabetic) alone.
        normalize_repetition: Contract three or more copies in a row of one to three characters
            to two ("sooo" to "soo", "hahaha" to "haha").
        normalize_spaces: Contract runs of spaces, strip the ends.
        separators: Characters to put spaces around; ASCII.
        first_cap: Above 0, column F-3 says whether the first character, and no other, is a
            capital (+1 or -1). Below 1, it does so with this probability and is 0 otherwise.
        all_caps: The same for "all characters are capitals" in column F-4.
        novelty_bits: n > 0 puts ``min(k / 2**n, 1) * 2 - 1`` into column F-1, where the word
            occurred k times before in its text.
        doc_size_levels: d > 0 puts ``min(log2(tokens) / d, 1) * 2 - 1`` into column F-2. It is
            minus infinity for a text without tokens, as in the published operator.
        distortion: Probability of deleting, moving or inserting a character of a word, for
            training. Without ``seed=``, calls go on in one random sequence per object, which
            starts anew in a copy.
        split_apostrophes: U+0027 and U+2019 are tokens of their own: "l'album" is "l", "'",
            "album". ``split="words"`` only.
        ngram_size: Makes the last ``ngram_size`` features, a multiple of 32 as F must then be,
            from the character n-grams of the token, so that words of similar spelling get
            similar features. The others are those of the whole token. ``hash="murmur"`` only.
        ngram_min: Characters of the shortest n-gram, 1 to 8.
        ngram_max: Characters of the longest n-gram, ``ngram_min`` to 8.
        ngram_runs: n-grams reach into tokens that follow, or go before, without a gap: a full stop,
            or the other words of a text without spaces. False: a token has the same features
            wherever it stands, which the engine needs to compute but once.
        token_hashes: n > 0 gives a whole token n features that are not zero, each chosen by a hash
            function of its own, instead of about half of all. ``hash="murmur"`` only.
        ngram_hashes: The same for each n-gram, instead of 32 of every 512.
        allow_empty: False: a text without any position is an error.

    Raises:
        TypeError: A setting of the wrong type.
        ValueError: A setting out of range, settings that exclude each other, or fewer features
            than extra columns. (The published operator aborts the process.)
    """

    __slots__ = ("_allow_empty", "_config", "_core")

    _allow_empty: bool
    _config: ProjectionConfig
    _core: native.Projector

    def __init__(
        self,
        feature_size: int,
        *,
        split: Split = "words",
        hash: Hash = "murmur",
        char: Char = "unsigned",
        lower: bool = True,
        bos: bool = False,
        eos: bool = False,
        max_tokens: int = -1,
        vocabulary: str = "",
        alphabetic_only: bool = False,
        normalize_repetition: bool = False,
        normalize_spaces: bool = False,
        separators: str = "",
        first_cap: float = 0.0,
        all_caps: float = 0.0,
        novelty_bits: int = 0,
        doc_size_levels: int = 0,
        distortion: float = 0.0,
        split_apostrophes: bool = False,
        ngram_size: int = 0,
        ngram_min: int = 2,
        ngram_max: int = 4,
        ngram_runs: bool = True,
        token_hashes: int = 0,
        ngram_hashes: int = 0,
        allow_empty: bool = True,
    ) -> None:
        config = ProjectionConfig(
            feature_size=feature_size,
            split=split,
            hash=hash,
            char=char,
            lower=lower,
            bos=bos,
            eos=eos,
            max_tokens=max_tokens,
            vocabulary=vocabulary,
            alphabetic_only=alphabetic_only,
            normalize_repetition=normalize_repetition,
            normalize_spaces=normalize_spaces,
            separators=separators,
            first_cap=first_cap,
            all_caps=all_caps,
            novelty_bits=novelty_bits,
            doc_size_levels=doc_size_levels,
            distortion=distortion,
            split_apostrophes=split_apostrophes,
            ngram_size=ngram_size,
            ngram_min=ngram_min,
            ngram_max=ngram_max,
            ngram_runs=ngram_runs,
            token_hashes=token_hashes,
            ngram_hashes=ngram_hashes,
        )
        if not isinstance(allow_empty, bool):
            raise TypeError(f"allow_empty must be bool, got {allow_empty!r}")
        object.__setattr__(self, "_config", config)
        object.__setattr__(self, "_allow_empty", allow_empty)
        object.__setattr__(self, "_core", native.Projector(**dataclasses.asdict(config)))

    @classmethod
    def from_attributes(
        cls,
        feature_size: int = 512,
        *,
        hashtype: Hash = "murmur",
        max_splits: int = -1,
        distortion_probability: float = 0.0,
        vocabulary: str = "",
        exclude_nonalphaspace_unicodes: bool = False,
        add_bos_tag: bool = False,
        add_eos_tag: bool | None = None,
        add_first_cap_feature: float = 0.0,
        add_all_caps_feature: float = 0.0,
        word_novelty_bits: int = 0,
        doc_size_levels: int = 0,
        split_on_space: bool = True,
        token_separators: str = "",
        normalize_repetition: bool = False,
        normalize_spaces: bool = False,
        char: Char = "signed",
        version: Literal[1, 2] = 1,
    ) -> Projection:
        """The published operator under its own attribute names, defaults and meanings.

        Args:
            feature_size: As in the constructor, and so on for the other arguments, each of which
                is the constructor's under its published name.
            hashtype: ``hash``.
            max_splits: ``max_tokens``.
            distortion_probability: ``distortion``.
            vocabulary: ``vocabulary``.
            exclude_nonalphaspace_unicodes: ``alphabetic_only``.
            add_bos_tag: ``bos``.
            add_eos_tag: ``eos``; None stands for the published default, which is true in V1 and
                false in V2.
            add_first_cap_feature: ``first_cap``.
            add_all_caps_feature: ``all_caps``.
            word_novelty_bits: ``novelty_bits``.
            doc_size_levels: ``doc_size_levels``.
            split_on_space: True: ``split="space"``, False: ``split="codepoints"``.
            token_separators: ``separators``.
            normalize_repetition: ``normalize_repetition``.
            normalize_spaces: ``normalize_spaces``.
            char: ``char``; the published operator's depends on the machine it was compiled for.
            version: 1, or 2 for the operator of :meth:`presegmented`.

        Raises:
            TypeError: An attribute of the wrong type.
            ValueError: An attribute out of range.
        """
        if version not in (1, 2):
            raise ValueError(f"version must be 1 or 2, got {version!r}")
        if not isinstance(split_on_space, bool):
            raise TypeError(f"split_on_space must be bool, got {split_on_space!r}")
        try:
            return cls(
                feature_size,
                split="space" if split_on_space else "codepoints",
                hash=hashtype,
                char=char,
                bos=add_bos_tag,
                eos=version == 1 if add_eos_tag is None else add_eos_tag,
                max_tokens=max_splits,
                vocabulary=vocabulary,
                alphabetic_only=exclude_nonalphaspace_unicodes,
                normalize_repetition=normalize_repetition,
                normalize_spaces=normalize_spaces,
                separators=token_separators,
                first_cap=add_first_cap_feature,
                all_caps=add_all_caps_feature,
                novelty_bits=word_novelty_bits,
                doc_size_levels=doc_size_levels,
                distortion=distortion_probability,
                allow_empty=False,
            )
        except (TypeError, ValueError) as error:
            message = str(error)
            name = message.split(" ", 1)[0]
            published = _PUBLISHED_NAMES.get(name, name)
            raise type(error)(message.replace(name, published, 1)) from None

    @property
    def config(self) -> ProjectionConfig:
        """The settings."""
        return self._config

    @property
    def feature_size(self) -> int:
        """Features F of a token."""
        return self._config.feature_size

    def ragged(
        self, texts: Texts, *, dtype: npt.DTypeLike = np.int8, seed: int | None = None
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Features of all texts, one after the other, without padding.

        Args:
            texts: Texts; a single one counts as a batch of one.
            dtype: int8 for -1, 0, +1; float32; or uint8, the coding of the published on-device
                operator (0, 127, 255; extra columns rounded to 1/127), which never draws at random.
            seed: 0 to 2**64 - 1. With ``distortion`` or cap probabilities, what happens to a text
                follows from the seed and the text alone, whatever the batch or thread. None: the
                published sequence, which goes on from call to call.

        Returns:
            Features ``[positions, F]`` and int64 offsets ``[n + 1]``: text i has the rows
            ``offsets[i]:offsets[i + 1]``, tags included.

        Raises:
            TypeError: Something that is neither str nor bytes, named by its index.
            ValueError: Another dtype, int8 with an extra feature that it cannot hold, a seed out
                of range, or a text without any position where ``allow_empty`` is false.
        """
        kind = self._check_dtype(dtype)
        batch = self._core.project(texts, kind != np.uint8, _check_seed(seed))
        offsets = batch.offsets
        self._check_positions(offsets)
        features = np.empty((int(offsets[-1]), self.feature_size), kind)
        batch.write_ragged(features)
        return features, offsets

    def ragged_unique(
        self, texts: Texts, *, dtype: npt.DTypeLike = np.int8, seed: int | None = None
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The features of :meth:`ragged`, each distinct row once: words repeat in a batch.

        Args:
            texts: Texts; a single one counts as a batch of one.
            dtype: As in :meth:`ragged`.
            seed: As in :meth:`ragged`.

        Returns:
            ``(rows, index, offsets)``, where ``rows[index]`` and ``offsets`` are what
            :meth:`ragged` gives: rows ``[distinct, F]`` in order of first appearance, int64 index
            ``[positions]``, int64 offsets ``[n + 1]``.

        Raises:
            TypeError, ValueError: As in :meth:`ragged`.
        """
        kind = self._check_dtype(dtype)
        batch = self._core.project(texts, kind != np.uint8, _check_seed(seed))
        self._check_positions(batch.offsets)
        distinct, index = batch.unique()
        rows = np.empty((distinct.positions, self.feature_size), kind)
        distinct.write_ragged(rows)
        return rows, index, batch.offsets

    def ragged_nonzero(
        self, texts: Texts, *, seed: int | None = None
    ) -> tuple[Nonzero, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The rows of :meth:`ragged_unique` without their zeros, for ``token_hashes``.

        Args:
            texts: Texts; a single one counts as a batch of one.
            seed: As in :meth:`ragged`.

        Returns:
            ``(nonzero, index, offsets)``. Of row r, ``nonzero.columns[a:b]`` are the features that
            are not zero, ascending, and ``nonzero.signs[a:b]`` are they, +1 or -1, where
            ``a, b = nonzero.starts[r : r + 2]``. Index and offsets as in :meth:`ragged_unique`.

        Raises:
            TypeError: As in :meth:`ragged`.
            ValueError: As in :meth:`ragged`, or the projection has extra features.
        """
        if self._config.has_extras:
            raise ValueError(f"ragged_nonzero() needs a projection without extras, got {self!r}")
        batch = self._core.project(texts, True, _check_seed(seed))
        self._check_positions(batch.offsets)
        distinct, index = batch.unique()
        return Nonzero(*distinct.nonzero()), index, batch.offsets

    def padded(
        self, texts: Texts, *, seed: int | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """Features of all texts in one box.

        Args:
            texts: Texts; a single one counts as a batch of one.
            seed: As in :meth:`ragged`.

        Returns:
            float32 features ``[n, T, F]``, where T is the largest number of positions, zero past
            each text's end; int32 lengths ``[n]``, tags included.

        Raises:
            TypeError: Something that is neither str nor bytes, named by its index.
            ValueError: A seed out of range, or a text without any position where ``allow_empty``
                is false.
        """
        batch = self._core.project(texts, True, _check_seed(seed))
        self._check_positions(batch.offsets)
        return self._pad(batch)

    def presegmented(
        self, token_lists: Iterable[Sequence[str] | Sequence[bytes]], *, seed: int | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """Features of texts that are split already: the published operator V2.

        Settings about whole texts (``split``, ``max_tokens``, ``separators``,
        ``normalize_spaces``) play no part; ``normalize_repetition`` acts on each word after
        lower-casing. A token may hold anything; an empty one is a word too.

        Args:
            token_lists: The tokens of each text.
            seed: As in :meth:`ragged`.

        Returns:
            As :meth:`padded`, with T the longest list and the tags.

        Raises:
            TypeError: Something that is no list of str or bytes, named by its indices.
            ValueError: A seed out of range.
        """
        if isinstance(token_lists, str | bytes) or not isinstance(token_lists, Iterable):
            raise TypeError(
                "token_lists must be a list of lists of str or bytes, "
                f"got {type(token_lists).__name__}"
            )
        return self._pad(self._core.project_tokens(list(token_lists), True, _check_seed(seed)))

    def tokens(self, text: Text) -> list[bytes]:
        """The tokens of one text before lower-casing, of the normalised text if that is on.

        Raises:
            TypeError: ``text`` is neither str nor bytes.
        """
        return self._core.tokens(text)

    def words(self, text: Text, *, seed: int | None = None) -> list[bytes]:
        """What is hashed for each position: lower-cased, filtered, distorted, with the tags.

        A word of which nothing is left is hashed as ``<null>`` and is ``b""`` here.

        Raises:
            TypeError: ``text`` is neither str nor bytes.
            ValueError: A seed out of range.
        """
        return self._core.words(text, _check_seed(seed))

    def spans(self, text: Text) -> list[tuple[int, int]]:
        """Start and end of each token: ``text[start:end]``, characters of str, bytes of bytes.

        A token of a normalised text covers all that it stands for.

        Raises:
            TypeError: ``text`` is neither str nor bytes.
        """
        return self._core.spans(text)

    def codes(self, word: Text) -> list[int]:
        """The 64-bit hash words of ``word`` as it stands, 32 features each, low bits first.

        With ``ngram_size``, the last ones are those of its n-grams, ``word`` without neighbours.

        Raises:
            TypeError: ``word`` is neither str nor bytes.
        """
        return self._core.codes(word)

    def _pad(
        self, batch: native.ProjectedBatch
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        lengths = np.diff(batch.offsets)
        steps = int(lengths.max(initial=0))
        features = np.empty((len(lengths), steps, self.feature_size), np.float32)
        batch.write_padded(features, steps)
        return features, lengths.astype(np.int32)

    def _check_dtype(self, dtype: npt.DTypeLike) -> np.dtype[Any]:
        kind = np.dtype(dtype)
        if kind not in (np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.float32)):
            raise ValueError(f"dtype must be int8, uint8 or float32, got {kind}")
        for name in ("novelty_bits", "doc_size_levels"):
            value = getattr(self._config, name)
            if kind == np.int8 and value:
                raise ValueError(f"dtype must be float32 or uint8 with {name}={value}, got int8")
        return kind

    def _check_positions(self, offsets: npt.NDArray[np.int64]) -> None:
        if self._allow_empty:
            return
        empty = np.flatnonzero(offsets[1:] == offsets[:-1])
        if len(empty):
            raise ValueError(
                f"texts[{empty[0]}] must have a token, or a tag must be on; got a text without any"
            )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Projection is immutable; cannot set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Projection is immutable; cannot delete {name!r}")

    def _settings(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self._config), "allow_empty": self._allow_empty}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Projection):
            return NotImplemented
        return self._settings() == other._settings()

    def __hash__(self) -> int:
        return hash((self._config, self._allow_empty))

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_settings, (self._settings(),)

    def __repr__(self) -> str:
        defaults = {f.name: f.default for f in dataclasses.fields(ProjectionConfig)}
        defaults |= {"allow_empty": True, "feature_size": None}
        shown = [f"{k}={v!r}" for k, v in self._settings().items() if v != defaults[k]]
        return f"Projection({', '.join(shown)})"


def _from_settings(settings: dict[str, Any]) -> Projection:
    return Projection(**settings)


def _check_seed(seed: object) -> int | None:
    if seed is None:
        return None
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed must be int or None, got {seed!r}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be in [0, 2**64 - 1], got {seed!r}")
    return int(seed)


def english_tokens(
    text: Text, separators: str = "", *, max_input: int = -1, max_tokens: int = -1
) -> list[bytes]:
    """The published stand-alone English tokenizer, which the operators do not use.

    Separators (ASCII) become tokens of their own, except that a space vanishes and an apostrophe
    stays at the front of the next token ("I'm" gives "I" and "'m"). A comma or dot before a digit
    separates nothing. Without separators, only spaces separate.

    Args:
        text: The text.
        separators: Separating characters.
        max_input: Cut the text to that many bytes; 0 or less: do not.
        max_tokens: Stop at that many tokens (a separator may be one more); 0 or less: do not.

    Raises:
        TypeError: ``text`` is neither str nor bytes.
    """
    return native.english_tokens(text, separators, max_input, max_tokens)
