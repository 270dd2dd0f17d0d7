"""Model files to models, and the models that come with the package."""

from __future__ import annotations

import functools
import os
from typing import Any

from . import _core as native
from .base import FloatArray, Texts
from .checkpoint import read_model
from .classifier import Classifier
from .config import PQRNNConfig
from .encoder import Encoder
from .parser import Parser

__all__ = ["encode", "load"]

_CLASSES: dict[str, type[Encoder | Classifier | Parser]] = {
    "embedding": Encoder,
    "classification": Classifier,
    "parsing": Parser,
}


def load(path_or_name: str | os.PathLike[str]) -> Encoder | Classifier | Parser:
    """Load a model file.

    Args:
        path_or_name: Path of a model file, or the name of an encoder that comes with the package:
            ``"default"``, of English, or ``"multilingual"``.

    Returns:
        :class:`Encoder`, :class:`Classifier` or :class:`Parser`, as the file's configuration says.

    Raises:
        ValueError: The file is damaged or of an unknown format version.
        OSError: It cannot be read, or this installation has no model of that name.
    """
    data = read_model(path_or_name)
    try:
        core = native.Model(data)
        config = PQRNNConfig.from_json(core.config_json)
        kind = _CLASSES[config.task]
        model = kind.__new__(kind)
        model._adopt(data, core, config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"cannot load {os.fspath(path_or_name)!r}: {error}") from None
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
