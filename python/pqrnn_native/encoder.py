"""Texts to sentence vectors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _core as native
from .base import FloatArray, Progress, Texts, VectorModel

__all__ = ["Encoder", "TokenVectors"]


class TokenVectors(NamedTuple):
    """The tokens of one text.

    Attributes:
        vectors: float32 ``[tokens, width]``, what the attention pools: the last layer's states,
            after the bottleneck's output when the model has ``skip``. Tags are left out.
        spans: int64 ``[tokens, 2]``, begin and end of each token in the text: characters of a
            ``str``, bytes of a ``bytes``.
    """

    vectors: FloatArray
    spans: npt.NDArray[np.int64]


class Encoder(VectorModel):
    """Turns texts into sentence vectors. Made by :func:`load`, or from the bytes of a model file.

    Raises:
        ValueError: The data are damaged, of an unknown format version, or of another task.
    """

    _task = "embedding"

    def encode(
        self,
        texts: Texts,
        *,
        batch_size: int | None = None,
        threads: int | None = None,
        normalize: bool = True,
        out: FloatArray | None = None,
        progress: Progress = None,
    ) -> FloatArray:
        """Sentence vectors.

        Each text gets the same bits whatever its neighbours, ``batch_size`` and ``threads``. There
        is no limit to its length; working memory is about ``16 * state_size`` bytes a token (twice
        the width of a layer's output), given back after long texts.

        Args:
            texts: One ``str`` or UTF-8 ``bytes``, or any iterable of them (list, tuple, generator,
                NumPy array of strings, pandas column). Ill-formed bytes and lone surrogates
                count as U+FFFD.
            batch_size: Texts that go through the network together; by default chosen by length.
                It changes speed and memory only.
            threads: Upper limit of threads, the caller's included. By default the environment
                variable ``PQRNN_NUM_THREADS``, else the CPUs this process may use.
            normalize: Scale vectors to length 1 (a zero vector stays zero).
            out: Array to write to, float32, C-contiguous, of the result's shape. What it holds
                beforehand does not matter.
            progress: Called as ``progress(done, total)`` from this thread, about 20 times a second
                and at the end; or True for a progress bar where tqdm is installed.

        Returns:
            float32 ``[n, dim]``, or ``[dim]`` for one text. A text without any token gives zeros.

        Raises:
            TypeError: ``texts`` is or holds something else than str or bytes, or another argument
                is of the wrong type.
            ValueError: ``threads`` or ``batch_size`` below 1, or ``out`` does not fit.
            KeyboardInterrupt: Ctrl-C stops the work; ``out`` is then partly written.
        """
        return self._run(
            texts,
            batch_size=batch_size,
            threads=threads,
            normalize=normalize,
            out=out,
            progress=progress,
        )

    def encode_tokens(self, texts: Texts) -> TokenVectors | list[TokenVectors]:
        """One vector for each token, and where the token stands in its text.

        Args:
            texts: As for :meth:`encode`.

        Returns:
            :class:`TokenVectors`, or a list of them unless ``texts`` is one text.

        Raises:
            TypeError: ``texts`` is or holds something else than str or bytes.
        """
        if isinstance(texts, str | bytes):
            return TokenVectors(*self._core.encode_tokens(texts))
        items: Any = list(texts) if hasattr(texts, "__iter__") else texts
        native.Texts(items)  # raises for the first item that is no text
        return [TokenVectors(*self._core.encode_tokens(text)) for text in items]
