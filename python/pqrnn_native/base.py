"""What all models share, and what arguments they take."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _core as native
from .checkpoint import write_whole
from .config import PQRNNConfig

Texts: TypeAlias = str | bytes | Iterable[str | bytes]
FloatArray: TypeAlias = npt.NDArray[np.float32]
Progress: TypeAlias = Callable[[int, int], object] | bool | None


class Model:
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
        """Columns of the output: length of a sentence vector, or number of classes or tags."""
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


class VectorModel(Model):
    """A model with one row of numbers per text."""

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
        threads = count_or_zero("threads", threads)
        batch_size = count_or_zero("batch_size", batch_size)
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
            with Reporter(progress, len(batch)) as report:
                self._core.encode(batch, out, threads, batch_size, normalize, report)
        return out


def count_or_zero(name: str, value: Any) -> int:
    """A number of threads or the like, 0 for None."""
    if value is None:
        return 0
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


class Reporter:
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
