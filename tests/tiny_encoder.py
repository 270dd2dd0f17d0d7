"""Random encoders of transformers, a few thousand weights each, with tokenizers made here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from pqrnn_native.train.teaching.model import quiet

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def words_tokenizer(texts: Iterable[str], *, marks: bool = True) -> Any:
    """A subword for each word and for each mark of punctuation of these texts."""
    split = pre_tokenizers.Whitespace()
    words = sorted({word for text in texts for word, _ in split.pre_tokenize_str(text)})
    vocabulary = {word: number for number, word in enumerate((*MARKS, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = split
    return _wrapped(tokenizer, marks)


def pieces_tokenizer(pieces: Iterable[str]) -> Any:
    """SentencePiece's way: a space belongs to the piece after it, as ``U+2581``."""
    vocabulary = [(piece, -5.0 if len(piece) == 1 else -1.0) for piece in (*MARKS, *pieces)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=1, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    return _wrapped(tokenizer, True)


def _wrapped(tokenizer: Any, marks: bool) -> Any:
    if marks:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]",
    )  # fmt: skip


def bert(size: int, seed: int = 0) -> Any:
    """BERT of 2 layers and a width of 32."""
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    return transformers.BertModel(config)


def write_encoder(folder: Path, texts: Iterable[str], seed: int = 0) -> Path:
    """A folder as a user would have one."""
    tokenizer = words_tokenizer(texts)
    with quiet():
        bert(len(tokenizer), seed).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder
