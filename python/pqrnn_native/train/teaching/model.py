"""An encoder of transformers with a head for texts and one for our tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..._optional import require
from ...config import PQRNNConfig
from .subwords import MOST_PLACES

__all__ = ["TeacherModel", "freeze_lower", "keep_lower", "longest_text", "quiet", "read_encoder"]


class TeacherModel(nn.Module):
    """Logits of a text's intent or labels, and of the tag of each of our tokens.

    A text is the mean of its subwords' last hidden states, marks included; a token the mean of
    those that overlap it, plus a vector for its place among the tokens of its first subword. Both
    heads are linear, and in float32 also under autocast.

    Args:
        encoder: of transformers, with ``last_hidden_state`` in what it says.
        config: names the intents, labels and tags; its shape means nothing here.
        dropout: before the heads.
    """

    def __init__(self, encoder: nn.Module, config: PQRNNConfig, dropout: float = 0.0) -> None:
        super().__init__()
        width = encoder.config.hidden_size
        self.encoder, self.dropout = encoder, nn.Dropout(dropout)
        self.heads = nn.ModuleDict()
        names = config.labels or config.intents
        if names:
            self.heads["sentence"] = nn.Linear(width, len(names))
        if config.slots:
            self.heads["tags"] = nn.Linear(width, len(config.slots))
            self.heads["place"] = nn.Embedding(MOST_PLACES + 1, width)
            nn.init.zeros_(self.heads["place"].weight)

    def forward(
        self, ids: Tensor, mask: Tensor, weights: Tensor, places: Tensor, offsets: Tensor
    ) -> Tensor | tuple[Tensor, Tensor]:
        """As a pQRNN's, for :class:`.subwords.SubwordInputs`.

        Returns:
            Of a classifier ``[n, labels]``, else that of intents ``[n, intents]`` (none of a
            tagger) and of tags ``[tokens, tags]``.
        """
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = hidden.float()
            sentence = hidden.new_zeros(len(ids), 0)
            if "sentence" in self.heads:
                present = mask[:, None].float()
                mean = (present @ hidden)[:, 0] / present.sum(2)
                sentence = self.heads["sentence"](self.dropout(mean))
            if "tags" not in self.heads:
                return sentence
            tokens = torch.arange(weights.shape[1], device=ids.device) < offsets.diff()[:, None]
            states = (weights @ hidden + self.heads["place"](places))[tokens]
            return sentence, self.heads["tags"](self.dropout(states))


def read_encoder(folder: str | Path) -> tuple[Any, Any]:
    """The encoder and the tokenizer of a folder on disk, in float32; nothing is downloaded.

    Args:
        folder: what ``save_pretrained`` writes: ``config.json``, weights and a tokenizer.

    Raises:
        FileNotFoundError: It holds no ``config.json``.
        ValueError: It holds nothing that transformers can read, weights are missing, the model is
            no encoder of texts, or the tokenizer gives no offsets.
    """
    transformers = require("transformers", extra="train")
    path = str(folder)
    if not (Path(folder) / "config.json").is_file():
        raise FileNotFoundError(f"teacher folder {path!r} holds no config.json")
    options = {"local_files_only": True, "trust_remote_code": False}
    with quiet():
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, **options)
            encoder, found = transformers.AutoModel.from_pretrained(
                path, output_loading_info=True, **options
            )
        except MemoryError:
            raise
        except Exception as error:  # whatever a library says of files that it cannot read
            raise ValueError(f"teacher folder {path!r} cannot be read: {_first(error)}") from error
    if not tokenizer.is_fast:
        raise ValueError(
            f"teacher folder {path!r} must have a tokenizer that gives offsets (a fast one), "
            f"got {type(tokenizer).__name__}"
        )
    # Many encoders are released without the pooler, which is not used here.
    missing = sorted(name for name in found["missing_keys"] if "pooler" not in name)
    if missing:
        raise ValueError(
            f"teacher folder {path!r} lacks {len(missing)} weights, the first is {missing[0]!r}"
        )
    _check_encoder(encoder, path)
    return encoder.float(), tokenizer


def keep_lower(encoder: Any, layers: int) -> None:
    """Cut off the layers above the first ``layers``.

    Raises:
        ValueError: It has fewer, or they are not found.
    """
    stack = _layers(encoder, layers, "layers")
    del stack[layers:]
    encoder.config.num_hidden_layers = layers
    kinds = getattr(encoder.config, "layer_types", None)
    if kinds:
        encoder.config.layer_types = kinds[:layers]


def freeze_lower(encoder: Any, layers: int) -> None:
    """Let the first ``layers`` layers, and the embeddings below them, stay as they are.

    Raises:
        ValueError: It has fewer, or they are not found.
    """
    stack = _layers(encoder, layers, "freeze_layers")
    first = next(stack.parameters())
    for parameter in encoder.parameters():  # in the order in which the parts are run
        if parameter is first:
            break
        parameter.requires_grad_(False)
    stack[:layers].requires_grad_(False)


def _layers(encoder: Any, wanted: int, name: str) -> nn.ModuleList:
    count = getattr(encoder.config, "num_hidden_layers", 0)
    lists = [part for part in encoder.modules() if isinstance(part, nn.ModuleList)]
    found = [part for part in lists if len(part) == count]
    if len(found) != 1:
        kind = type(encoder).__name__
        raise ValueError(f"{name} must be 0 for this encoder, got {wanted!r}: no layers in {kind}")
    if not 0 < wanted <= count:
        raise ValueError(f"{name} must be 0 to {count}, the encoder's layers, got {wanted!r}")
    return found[0]


def longest_text(encoder: Any, tokenizer: Any, wanted: int) -> int:
    """How many subwords of a text are read: as many as wanted, unless that is too many for it."""
    positions = getattr(encoder.config, "max_position_embeddings", None) or 0
    # RoBERTa and its kin count positions from 2.
    known = positions - 2 if positions > 2 else wanted
    return min(wanted, known, tokenizer.model_max_length)


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of transformers meanwhile: they would break into ours."""
    logging = require("transformers", extra="train").utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _check_encoder(encoder: Any, path: str) -> None:
    kind = type(encoder).__name__
    if getattr(encoder.config, "is_encoder_decoder", False):
        raise ValueError(f"teacher folder {path!r} must hold an encoder alone, got {kind}")
    one = torch.zeros(1, 1, dtype=torch.int64)
    try:
        with torch.inference_mode():
            encoder.eval()(input_ids=one, attention_mask=one + 1).last_hidden_state[0, 0, 0]
    except Exception as error:  # a model of images or of sound says something else each
        raise ValueError(
            f"teacher folder {path!r} must hold an encoder of texts, got {kind}: {_first(error)}"
        ) from error


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]
