"""Models for inference, without torch: text in, NumPy arrays out."""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _core as native
from .checkpoint import read_model, write_whole
from .config import PQRNNConfig

__all__ = ["Classifier", "Encoder", "TokenVectors", "encode", "load"]

Texts: TypeAlias = str | bytes | Iterable[str | bytes]
FloatArray: TypeAlias = npt.NDArray[np.float32]
Progress: TypeAlias = Callable[[int, int], object] | bool | None


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


class _Model:
    """What all models share: immutable, picklable, safe to share between threads."""

    _task = ""

    def __init__(self, data: bytes) -> None:
        data = bytes(data)
        core = native.Model(data)
        self._adopt(data, core, PQRNNConfig.from_json(core.config_json))

    def _adopt(self, data: bytes, core: native.Model, config: PQRNNConfig) -> None:
        if config.task != self._task:
            raise ValueError(
                f"{type(self).__name__} needs a model for task {self._task!r}, "
                f"got one for {config.task!r}; pqrnn_native.load() chooses the class"
            )
        self._data = data
        self._core = core
        self._config = config

    @property
    def config(self) -> PQRNNConfig:
        """The hyper-parameters."""
        return self._config

    @property
    def dim(self) -> int:
        """Columns of the output: length of a sentence vector, or number of classes."""
        return self._core.output_size

    @property
    def nbytes(self) -> int:
        """Memory of the unpacked weights, in bytes."""
        return self._core.weight_bytes

    @property
    def isa(self) -> str:
        """Name of the instruction set this model uses; see ``available_isas()``."""
        return self._core.isa

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model file; the old file or the whole new one is there at any moment.

        Raises:
            OSError: The file cannot be written.
        """
        write_whole(path, [self._data])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._data,)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} dim={self.dim} layers={self._config.num_layers} "
            f"weights={self._config.parameter_count()} isa={self.isa}>"
        )

    def _run(
        self,
        texts: Texts,
        *,
        batch_size: int | None,
        threads: int | None,
        normalize: bool,
        out: FloatArray | None,
        progress: Progress,
    ) -> FloatArray:
        batch = native.Texts(texts)
        threads = 0 if threads is None else _positive("threads", threads)
        batch_size = 0 if batch_size is None else _positive("batch_size", batch_size)
        if not isinstance(normalize, bool):
            raise TypeError(f"normalize must be bool, got {normalize!r}")
        dim = self._core.output_size
        shape = (dim,) if isinstance(texts, str | bytes) else (len(batch), dim)
        if out is None:
            out = np.empty(shape, np.float32)
        else:
            _check_out(out, shape)
        if progress is None or progress is False:
            self._core.encode(batch, out, threads, batch_size, normalize, None)
        else:
            with _Reporter(progress, len(batch)) as report:
                self._core.encode(batch, out, threads, batch_size, normalize, report)
        return out


class Encoder(_Model):
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


class Classifier(_Model):
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


_CLASSES: dict[str, type[Encoder | Classifier]] = {
    "embedding": Encoder,
    "classification": Classifier,
}


def load(path_or_name: str | os.PathLike[str]) -> Encoder | Classifier:
    """Load a model file.

    Args:
        path_or_name: Path of a model file, or ``"default"`` for the encoder that comes with the
            package.

    Returns:
        :class:`Encoder` or :class:`Classifier`, as the file's configuration says.

    Raises:
        ValueError: The file is damaged, of an unknown format version, or of a task that cannot be
            run.
        OSError: It cannot be read.
    """
    data = read_model(path_or_name)
    try:
        core = native.Model(data)
        config = PQRNNConfig.from_json(core.config_json)
    except (TypeError, ValueError) as error:
        raise ValueError(f"cannot load {os.fspath(path_or_name)!r}: {error}") from None
    kind = _CLASSES[config.task]
    model = kind.__new__(kind)
    model._adopt(data, core, config)
    return model


def encode(texts: Texts, **options: Any) -> FloatArray:
    """Sentence vectors of the default model: ``load("default").encode(texts, **options)``.

    Args:
        texts: One text or an iterable of them.
        **options: The keyword arguments of :meth:`Encoder.encode`.

    Returns:
        float32 ``[n, dim]``, or ``[dim]`` for one text.

    Raises:
        TypeError: As :meth:`Encoder.encode`.
        ValueError: As :meth:`Encoder.encode`.
        FileNotFoundError: This installation has no default model.
    """
    return _default(native.isa()).encode(texts, **options)


@functools.cache
def _default(isa: str) -> Encoder:
    # A model keeps the instruction set it was loaded for, hence one for each.
    del isa
    model = load("default")
    if not isinstance(model, Encoder):
        raise RuntimeError("the default model is not an Encoder")
    return model


def _positive(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be int or None, got {value!r}")
    number = operator.index(value)
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}")
    return min(number, 2**31 - 1)


def _check_out(out: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a NumPy array, got {type(out).__name__}")
    if out.dtype != np.float32:
        raise TypeError(f"out must be of dtype float32, got {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"out must have shape {shape}, got {out.shape}")
    for flag in ("C_CONTIGUOUS", "ALIGNED", "WRITEABLE"):
        if not out.flags[flag]:
            raise ValueError(f"out must be {flag.lower()}")


class _Reporter:
    """A progress callback, or a tqdm bar, for the length of a call."""

    def __init__(self, progress: Any, total: int) -> None:
        if progress is not True and not callable(progress):
            raise TypeError(f"progress must be callable or bool, got {progress!r}")
        self._progress = progress
        self._total = total
        self._bar: Any = None

    def __enter__(self) -> Callable[[int, int], object] | None:
        if self._progress is not True:
            return self._progress  # type: ignore[no-any-return]
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return None
        self._bar = tqdm(total=self._total, unit="text")
        return lambda done, _total: self._bar.update(done - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
