"""Several encoders and parsers side by side: every weight has one more dimension, the copy.

A small encoder with short texts keeps a GPU waiting for the next kernel. Copies that are trained
together, on different rows, share each kernel, so that four cost little more than one.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

_BLOCK = 18


def _unpacked(raw: npt.NDArray[np.uint8], *shape: int) -> npt.NDArray[np.float32]:
    """Weights of 4 bits as float32."""
    blocks = raw.reshape(-1, _BLOCK)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    nibbles = blocks[:, 2:]
    values = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.float32) - 8
    result: npt.NDArray[np.float32] = (values * scale).reshape(shape)
    return result


def read_encoder(path: Path, layers: int = 0) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings and weights of an encoder as prepare.py writes it.

    Args:
        path: the file.
        layers: how many to keep; 0: all.
    """
    with np.load(path) as file:
        config = json.loads(str(file["config"]))
        hidden, inner, rows = config["hidden"], config["inner"], config["rows"]
        count = config["layers"] = layers or config["layers"]
        dense = {
            "q": (hidden, hidden), "k": (hidden, hidden), "v": (hidden, hidden),
            "ao": (hidden, hidden), "fi": (inner, hidden), "fo": (hidden, inner),
        }  # fmt: skip
        state = {
            "word": _unpacked(file["emb.word"], rows, hidden),
            "position": file["emb.pos"].reshape(-1, hidden) + file["emb.type"][:hidden],
            "norm_weight": file["emb.ln.w"],
            "norm_bias": file["emb.ln.b"],
        }
        stacks: dict[str, list[Any]] = {}
        for layer in range(count):
            own: dict[str, Any] = {}
            for name, shape in dense.items():
                own[f"{name}_weight"] = _unpacked(file[f"l{layer}.{name}.w"], *shape)
                own[f"{name}_bias"] = file[f"l{layer}.{name}.b"]
            for kind in ("weight", "bias"):
                own[f"qkv_{kind}"] = np.concatenate([own.pop(f"{part}_{kind}") for part in "qkv"])
            for name in ("aln", "oln"):
                own[f"{name}_weight"] = file[f"l{layer}.{name}.w"]
                own[f"{name}_bias"] = file[f"l{layer}.{name}.b"]
            for name, values in own.items():
                stacks.setdefault(name, []).append(values)
        state.update({name: np.stack(values) for name, values in stacks.items()})
    return config, {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in state.items()}


def dense(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A layer of each copy: x ``[copies, .., in]``, weight ``[copies, out, in]``."""
    flat = x.flatten(1, -2)
    out = torch.baddbmm(bias[:, None], flat, weight.transpose(1, 2))
    return out.unflatten(1, x.shape[1:-1])


def norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """Layer norm of each copy: x ``[copies, n, length, hidden]``."""
    normal = functional.layer_norm(x, x.shape[-1:], eps=epsilon)
    return torch.addcmul(bias[:, None, None], normal, weight[:, None, None])


class Encoder(nn.Module):
    """BERT, several times.

    Args:
        config: of one copy.
        states: weights of each copy.
        dropout: of embeddings, attention and what is added to the residual stream.
        frozen: layers that stay as they are, with the embeddings, counted from below; 0: nothing
            does, embeddings neither.
    """

    def __init__(
        self, config: dict[str, Any], states: list[dict[str, Tensor]], dropout: float,
        frozen: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config, self.dropout, self.copies = config, dropout, len(states)
        self.frozen = frozen
        for name in states[0]:
            # Weights of layers: [layers, copies, ..].
            stacked = torch.stack([s[name] for s in states], 1 if self.layered(name) else 0)
            if frozen and self.layered(name):
                still, stacked = stacked[:frozen], stacked[frozen:]
                self.register_buffer(f"still_{name}", still.float().clone())
            weight = nn.Parameter(stacked.float().clone())
            setattr(self, name, weight.requires_grad_(self.layered(name) or not frozen))

    @staticmethod
    def layered(name: str) -> bool:
        """Whether a weight has a dimension of layers."""
        return name not in ("word", "position", "norm_weight", "norm_bias")

    def state(self, copy: int = 0) -> dict[str, Tensor]:
        """Weights of one copy."""
        names = [name for name, _ in self.named_parameters()]
        weights = {name: getattr(self, name).detach() for name in names}
        if self.frozen:
            for name in filter(self.layered, names):
                weights[name] = torch.cat([getattr(self, f"still_{name}"), weights[name]])
        return {
            name: (value[:, copy] if self.layered(name) else value[copy]).float().cpu().clone()
            for name, value in weights.items()
        }

    def _cast(self, name: str) -> Tensor:
        """Weights of all layers, at once in the type that products have under autocast."""
        weight: Tensor = getattr(self, name)
        kind = weight.device.type
        if not torch.is_autocast_enabled(kind) or "aln" in name or "oln" in name:
            return weight
        return weight.to(torch.get_autocast_dtype(kind))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States ``[copies, n, length, hidden]``.

        Args:
            ids: int64 ``[copies, n, length]``, or ``[1, n, length]`` for the same texts.
            mask: bool of the same shape, whether there is a subword.
        """
        copies, (_, n, length) = self.copies, ids.shape
        ids, mask = ids.expand(copies, -1, -1), mask.expand(copies, -1, -1)
        seen = mask.reshape(copies * n, 1, 1, length).expand(-1, -1, length, -1)
        learning = self.training and torch.is_grad_enabled()
        with torch.set_grad_enabled(learning and not self.frozen):
            dropout = 0.0 if self.frozen or not self.training else self.dropout
            rows = self.word.shape[1]
            moved = ids + torch.arange(copies, device=ids.device)[:, None, None] * rows
            x = functional.embedding(moved, self.word.flatten(0, 1))
            x = x + self.position[:, None, :length]
            x = norm(x, self.norm_weight, self.norm_bias, self.config["epsilon"])
            x = self._layers(functional.dropout(x, dropout), seen, "still_", self.frozen, 0.0)
        with torch.set_grad_enabled(learning):
            above = self.config["layers"] - self.frozen
            return self._layers(x, seen, "", above, self.dropout if self.training else 0.0)

    def _layers(self, x: Tensor, seen: Tensor, prefix: str, count: int, dropout: float) -> Tensor:
        copies, n, length, _ = x.shape
        heads, epsilon = self.config["heads"], self.config["epsilon"]
        names = ("qkv", "ao", "aln", "fi", "fo", "oln")
        unbound = {
            f"{name}_{kind}": self._cast(f"{prefix}{name}_{kind}").unbind(0)
            for name in names
            for kind in ("weight", "bias")
            if count
        }
        for layer in range(count):
            w = {name: values[layer] for name, values in unbound.items()}
            qkv = dense(x, w["qkv_weight"], w["qkv_bias"])
            qkv = qkv.reshape(copies * n, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
            attended = functional.scaled_dot_product_attention(
                qkv[0], qkv[1], qkv[2], attn_mask=seen, dropout_p=dropout
            )
            attended = attended.transpose(1, 2).reshape(copies, n, length, -1)
            added = functional.dropout(dense(attended, w["ao_weight"], w["ao_bias"]), dropout)
            x = norm(x + added, w["aln_weight"], w["aln_bias"], epsilon)
            inner = functional.gelu(dense(x, w["fi_weight"], w["fi_bias"]))
            added = functional.dropout(dense(inner, w["fo_weight"], w["fo_bias"]), dropout)
            x = norm(x + added, w["oln_weight"], w["oln_bias"], epsilon)
        return x


def _fresh(copies: int, out: int, size: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(copies, out, size) / math.sqrt(size))


class Parsers(nn.Module):
    """Encoders with two heads each: the intent of a text, and the tag of each of our tokens.

    A token is known by its first and last subword, and by how many tokens before it begin in that
    first subword: one of Thai may hold several tokens.

    Args:
        encoder: copies of the encoder.
        intents, tags: how many there are.
        dropout: before the outputs.
    """

    def __init__(self, encoder: Encoder, intents: int, tags: int, dropout: float) -> None:
        super().__init__()
        self.encoder, self.dropout = encoder, dropout
        copies, hidden, places = encoder.copies, encoder.config["hidden"], 32
        self.place = nn.Parameter(torch.randn(copies, 8, places))
        self.intent_inner = _fresh(copies, hidden, 2 * hidden)
        self.intent_out = _fresh(copies, intents, hidden)
        self.tag_inner = _fresh(copies, hidden, 2 * hidden + places)
        self.tag_out = _fresh(copies, tags, hidden)
        for name, size in (
            ("intent_inner", hidden), ("intent_out", intents),
            ("tag_inner", hidden), ("tag_out", tags),
        ):  # fmt: skip
            setattr(self, f"{name}_bias", nn.Parameter(torch.zeros(copies, size)))

    def _head(self, x: Tensor, name: str) -> Tensor:
        for part in ("inner", "out"):
            x = functional.dropout(x, self.dropout, self.training)
            weight, bias = getattr(self, f"{name}_{part}"), getattr(self, f"{name}_{part}_bias")
            x = dense(x, weight, bias)
            x = functional.gelu(x) if part == "inner" else x
        return x

    def forward(
        self, ids: Tensor, mask: Tensor, first: Tensor, last: Tensor, place: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits of intents ``[copies, n, intents]`` and of tags ``[copies, n, tokens, tags]``."""
        x = self.encoder(ids, mask)
        copies, n, _, hidden = x.shape
        weight = mask.expand(copies, -1, -1)[..., None].to(x.dtype)
        mean = (x * weight).sum(2) / weight.sum(2)
        intents = self._head(torch.cat([x[:, :, 0], mean], -1), "intent")
        shape = (copies, n, first.shape[-1])
        first, last, place = (part.expand(shape) for part in (first, last, place))
        ends = [x.gather(2, part[..., None].expand(-1, -1, -1, hidden)) for part in (first, last)]
        moved = place + torch.arange(copies, device=x.device)[:, None, None] * self.place.shape[1]
        places = functional.embedding(moved, self.place.flatten(0, 1)).to(x.dtype)
        return intents, self._head(torch.cat([*ends, places], -1), "tag")


class MaskedModel(nn.Module):
    """One encoder that guesses hidden subwords, with its own embeddings as output weights.

    Args:
        encoder: of a single copy.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        hidden = encoder.config["hidden"]
        self.inner, self.norm = nn.Linear(hidden, hidden), nn.LayerNorm(hidden)
        self.bias = nn.Parameter(torch.zeros(encoder.config["rows"]))
        with torch.no_grad():
            self.norm.weight.fill_(0.5)

    def forward(self, ids: Tensor, mask: Tensor, rows: Tensor, places: Tensor) -> Tensor:
        """Logits ``[chosen, subwords]`` at chosen places of texts ids ``[n, length]``."""
        x = self.encoder(ids[None], mask[None])[0][rows, places]
        x = self.norm(functional.gelu(self.inner(x)))
        return functional.linear(x, self.encoder.word[0], self.bias)


def rate(progress: float, peak: float, warmup: float = 0.06) -> float:
    """Learning rate: linear up, linear down."""
    return peak * min(progress / warmup, max(0.0, 1 - progress) / (1 - warmup), 1.0)


def optimizer(model: nn.Module, heads: float) -> torch.optim.AdamW:
    """AdamW; parameters outside of the encoder learn ``heads`` times as fast."""
    groups: list[dict[str, Any]] = []
    for inside in (True, False):
        for decay in (True, False):
            own = [
                p
                for name, p in model.named_parameters()
                if p.requires_grad and name.startswith("encoder.") == inside
                and (name.endswith(("weight", "inner", "out")) and "norm" not in name
                     and "ln_" not in name) == decay
            ]  # fmt: skip
            groups.append(
                {"params": own, "factor": 1.0 if inside else heads,
                 "weight_decay": 0.01 if decay else 0.0}
            )  # fmt: skip
    return torch.optim.AdamW([g for g in groups if g["params"]], betas=(0.9, 0.98), fused=True)


def set_rate(chosen: torch.optim.Optimizer, value: float) -> None:
    """Learning rate of every group."""
    for group in chosen.param_groups:
        group["lr"] = value * group["factor"]


def device_name() -> str:
    """The GPU, if there is one, with kernels of attention that need no plan for each shape."""
    if not torch.cuda.is_available():
        return "cpu"
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.set_float32_matmul_precision("high")
    return "cuda"
