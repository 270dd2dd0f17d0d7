"""Write tests/golden: small 8-bit models, texts, and the outputs that every build must give.

The outputs come from the NumPy twin, ``pqrnn_native.reference.quantised``, not from the engine. Run
it again only when the arithmetic is meant to change:

    python scripts/make_golden.py tests/golden
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

import pqrnn_native as pq
from pqrnn_native.checkpoint import quantise_weight, save_model
from pqrnn_native.reference import quantised

TEXTS = (
    "turn on the lights in the kitchen",
    "",
    "a",
    "What's the weather like in São Paulo tomorrow at 7:30?",
    "naïve café, ﬀ ½ — 你好世界 สวัสดี 🙂",
    "!!! ... ???",
    " ".join(f"word{number}" for number in range(40)),
)

Projection = pq.ProjectionConfig
MODELS = {
    "embedding": pq.PQRNNConfig(
        projection=Projection(feature_size=160, ngram_size=64),
        bottleneck_size=40, state_size=24, num_layers=3, output_size=33,
    ),
    "embedding-ifo-skip": pq.PQRNNConfig(
        projection=Projection(feature_size=64, bos=True, eos=True),
        bottleneck_size=30, state_size=21, num_layers=2, pooling="ifo", skip=True,
        attention_heads=9, kernel_size=3, output_size=16,
    ),
    "classes": pq.PQRNNConfig(
        task="classification", projection=Projection(feature_size=80, split="space", first_cap=1.0,
        doc_size_levels=5), bottleneck_size=17, state_size=40, num_layers=2, bidirectional=False,
        pooling="f", kernel_size=1, labels=("no", "yes", "maybe"),
    ),
    "parser": pq.PQRNNConfig(
        task="parsing", projection=Projection(feature_size=128, split_apostrophes=True),
        bottleneck_size=20, state_size=32, num_layers=2, skip=True, attention_heads=4,
        intents=("a", "b", "c"), slots=("O", "B-x", "I-x", "B-y", "I-y"), slot_context=True,
        crf=True,
    ),
}  # fmt: skip


def invent(config: pq.PQRNNConfig, rng: np.random.Generator) -> dict[str, Any]:
    """Random tensors of a scale that keeps gates away from saturation."""
    tensors: dict[str, Any] = {}
    for name, shape in config.tensor_shapes().items():
        inputs = int(np.prod(shape[1:])) if len(shape) > 1 else 4
        value = (rng.normal(size=shape) * 1.5 / np.sqrt(inputs)).astype(np.float32)
        if name.endswith(".range"):
            tensors[name] = np.abs(value) + np.float32(0.3)
        elif name.endswith(".bias"):
            tensors[name] = value
        else:
            tensors[name], tensors[f"{name}_scale"] = quantise_weight(value)
    return tensors


def bits(values: Any) -> list[str]:
    """Each float32 as eight hexadecimal digits, most significant first."""
    return [f"{number:08x}" for number in np.asarray(values, np.float32).ravel().view(np.uint32)]


def main() -> None:
    """Write every model and its expected outputs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for number, (name, shape) in enumerate(MODELS.items()):
        config = dataclasses.replace(shape, precision="int8")
        tensors = invent(config, np.random.default_rng(number))
        save_model(folder / f"{name}.safetensors", config, tensors)
        projection = pq.Projection(**dataclasses.asdict(config.projection))
        rows = []
        for text in TEXTS:
            features = projection.ragged([text], dtype=np.float32)[0]
            row = {"text": text, "outputs": bits(quantised.outputs(config, tensors, features))}
            if config.task == "parsing":
                row["slots"] = bits(quantised.slots(config, tensors, features))
            rows.append(row)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
