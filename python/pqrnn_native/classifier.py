"""Texts to labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import FloatArray, Progress, Texts, VectorModel

__all__ = ["Classifier"]


class Classifier(VectorModel):
    """Assigns labels to texts. Made by :func:`load`, or from the bytes of a model file.

    Raises:
        ValueError: The data are damaged, of an unknown format version, or of another task.
    """

    _task = "classification"

    @property
    def classes(self) -> tuple[str, ...]:
        """The label names, in the order of the columns of :meth:`predict_proba`."""
        return self._config.labels

    def predict_proba(
        self,
        texts: Texts,
        *,
        batch_size: int | None = None,
        threads: int | None = None,
        out: FloatArray | None = None,
        progress: Progress = None,
    ) -> FloatArray:
        """Probability of each class.

        Args:
            texts: As for :meth:`Encoder.encode`, like the other arguments.
            batch_size: Texts that go through the network together.
            threads: Upper limit of threads.
            out: Array to write to.
            progress: Callable or True.

        Returns:
            float32 ``[n, classes]``, or ``[classes]`` for one text; rows sum to 1 unless the model
            has ``multi_label``.

        Raises:
            TypeError: As :meth:`Encoder.encode`.
            ValueError: As :meth:`Encoder.encode`.
        """
        return self._run(
            texts,
            batch_size=batch_size,
            threads=threads,
            normalize=True,
            out=out,
            progress=progress,
        )

    def predict(
        self,
        texts: Texts,
        *,
        batch_size: int | None = None,
        threads: int | None = None,
        progress: Progress = None,
    ) -> Any:
        """The most probable label; with ``multi_label`` all labels of at least one half.

        Args:
            texts: As for :meth:`Encoder.encode`, like the other arguments.
            batch_size: Texts that go through the network together.
            threads: Upper limit of threads.
            progress: Callable or True.

        Returns:
            A list with a ``str`` (``multi_label``: a tuple of them) for each text, or that alone
            for one text.

        Raises:
            TypeError: As :meth:`Encoder.encode`.
            ValueError: As :meth:`Encoder.encode`.
        """
        scores = self.predict_proba(
            texts, batch_size=batch_size, threads=threads, progress=progress
        )
        rows = np.atleast_2d(scores)
        labels = self.classes
        found: list[Any]
        if self._config.multi_label:
            found = [tuple(labels[j] for j in np.flatnonzero(row >= 0.5)) for row in rows]
        else:
            found = [labels[j] for j in rows.argmax(axis=1)]
        return found[0] if scores.ndim == 1 else found
