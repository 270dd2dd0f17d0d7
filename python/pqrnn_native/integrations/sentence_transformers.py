"""A module for sentence-transformers, so that its evaluators, searches and pipelines take a pQRNN.

    from sentence_transformers import SentenceTransformer
    from pqrnn_native.integrations.sentence_transformers import PQRNNModule

    model = SentenceTransformer(modules=[PQRNNModule("default")], device="cpu")

It runs the library's own kernels on the CPU and has nothing that could be trained; ``pqrnn-native
distill`` and :func:`pqrnn_native.train.fit` train.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._optional import require

require("sentence_transformers", extra="sentence-transformers")

import torch
from sentence_transformers.base.modules import InputModule

from ..encoder import Encoder
from ..loading import load

__all__ = ["PQRNNModule"]

_FILE = "model.safetensors"


class PQRNNModule(InputModule):
    """First and only module of a ``SentenceTransformer``: texts to sentence vectors.

    Args:
        model: an :class:`pqrnn_native.Encoder`, a model file, or the name of an embedded model.
        normalize: whether vectors have length 1; then a dot product is a cosine.
        threads: as for :meth:`pqrnn_native.Encoder.encode`.

    Raises:
        TypeError: the model is of another task.
    """

    config_keys = ["normalize", "threads"]  # noqa: RUF012 -- read by the base class

    def __init__(
        self,
        model: Encoder | str | os.PathLike[str] = "default",
        *,
        normalize: bool = True,
        threads: int | None = None,
    ) -> None:
        super().__init__()
        found = model if isinstance(model, Encoder) else load(model)
        if not isinstance(found, Encoder):
            raise TypeError(f"model must make sentence vectors, got a {type(found).__name__}")
        self.model = found
        self.normalize = normalize
        self.threads = threads

    def preprocess(
        self,
        inputs: Sequence[Any],
        prompt: str | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> dict[str, Any]:
        """``text``: what :meth:`forward` reads, the texts themselves after the prompt."""
        return {"text": self._prepend_prompt(list(inputs), prompt) if prompt else list(inputs)}

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # noqa: ARG002
        """What :meth:`preprocess` returned, and ``sentence_embedding``: float32 ``[n, dim]``."""
        vectors = self.model.encode(
            features["text"], normalize=self.normalize, threads=self.threads
        )
        features["sentence_embedding"] = torch.from_numpy(vectors)
        return features

    def get_embedding_dimension(self) -> int:
        """Length of a sentence vector."""
        return self.model.dim

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Write the model file and this module's settings into a folder."""
        self.model.save(Path(output_path) / _FILE)
        self.save_config(output_path)

    @classmethod
    def load(cls, model_name_or_path: str, **kwargs: Any) -> PQRNNModule:
        """Read what :meth:`save` wrote, from a folder or from a hub.

        Raises:
            FileNotFoundError: there is no model file.
        """
        names = ("subfolder", "token", "cache_folder", "revision", "local_files_only")
        place = {name: kwargs[name] for name in names if name in kwargs}
        path = cls.load_file_path(model_name_or_path, filename=_FILE, **place)
        if path is None:
            raise FileNotFoundError(f"{model_name_or_path} has no {_FILE}")
        return cls(path, **cls.load_config(model_name_or_path, **place))
