"""The graph of the published code, for models that it trained or would train.

Sections 12 and 13 of the specification, at the pace of a loop over steps. :mod:`.encoder` is the
graph to train for anything else.
"""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor, nn

from ..config import PQRNNConfig
from .encoder import to_ragged
from .portable import padded, valid_places
from .published_layers import (
    ActivationQuantiser,
    Convolution,
    Dense,
    FixedRange,
    WeightedLayer,
)

__all__ = ["AttentionPooling", "PublishedPQRNN", "QRNNDirection", "QRNNLayer"]

_MASKED_LOGIT = -1e6
# Fields of a configuration that the published graph does not have, or not with all values.
_ALLOWED: dict[str, tuple[object, ...]] = {
    "task": ("embedding", "classification"),
    "bidirectional": (True,),
    "pooling": ("f", "fo"),
    "attention_heads": (1,),
    "skip": (False,),
    "precision": ("float32",),
    "projection.split": ("space", "codepoints"),
    "projection.ngram_size": (0,),
    "projection.token_hashes": (0,),
}


class QRNNDirection(nn.Module):
    """One direction of a layer: gates, each a convolution of its own, and pooling.

    Args:
        inputs: Width of the input.
        states: Width H of the state.
        taps: Steps k that a gate sees.
        pooling: ``"f"`` or ``"fo"``.
        zoneout: Probability of keeping a state while training.
        reverse: Run from the end.
        quantize: As for :class:`PublishedPQRNN`.
    """

    def __init__(
        self,
        inputs: int,
        states: int,
        *,
        taps: int,
        pooling: str,
        zoneout: float,
        reverse: bool,
        quantize: bool,
    ) -> None:
        super().__init__()
        self.zoneout, self.reverse = zoneout, reverse
        self.gates = nn.ModuleDict(
            {
                gate: Convolution(inputs, states, taps=taps, reverse=reverse, quantize=quantize)
                for gate in f"z{pooling}"
            }
        )
        self.r01 = FixedRange(0.0, 1.0, quantize)
        self.r11 = FixedRange(-1.0, 1.0, quantize)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[n, T, inputs] to [n, T, H], zero in the padding."""
        gates = {name: gate(x, mask) for name, gate in self.gates.items()}
        z, f = self.r11(gates["z"].tanh()), self.r01(gates["f"].sigmoid())
        add = self.r11(self.r01(1 - f) * z)
        # Where a state is held, the recurrence multiplies it by 1 and adds 0.
        held = mask == 0
        if self.training and self.zoneout:
            held = held | (torch.rand_like(f) < self.zoneout)
        h = self._scan(f.masked_fill(held, 1.0), add.masked_fill(held, 0.0))
        if "o" in gates:
            h = self.r11(h) * self.r01(gates["o"].sigmoid())
        return h * mask

    def _scan(self, keep: Tensor, add: Tensor) -> Tensor:
        h = torch.zeros_like(keep[:, 0])
        states = []
        steps = range(keep.shape[1])
        for t in reversed(steps) if self.reverse else steps:
            h = h * keep[:, t] + add[:, t]
            states.append(h)
        return torch.stack(states[::-1] if self.reverse else states, 1)


class QRNNLayer(nn.Module):
    """A forward and a backward :class:`QRNNDirection` side by side; arguments as there."""

    def __init__(
        self, inputs: int, states: int, *, taps: int, pooling: str, zoneout: float, quantize: bool
    ) -> None:
        super().__init__()
        self.directions = nn.ModuleList(
            QRNNDirection(
                inputs,
                states,
                taps=taps,
                pooling=pooling,
                zoneout=zoneout,
                reverse=reverse,
                quantize=quantize,
            )
            for reverse in (False, True)
        )
        self.r11 = FixedRange(-1.0, 1.0, quantize)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[n, T, inputs] to [n, T, 2H], zero in the padding."""
        return self.r11(torch.cat([self.r11(one(x, mask)) for one in self.directions], 2))


class AttentionPooling(nn.Module):
    """A mean over time, weighted by a softmax of logits that went through batch norm and ReLU.

    Args:
        width: Of the input.
        quantize: As for :class:`PublishedPQRNN`.
    """

    def __init__(self, width: int, quantize: bool) -> None:
        super().__init__()
        self.logits = Dense(width, 1, relu=True, quantize=quantize)
        self.r01 = FixedRange(0.0, 1.0, quantize)
        self.range = ActivationQuantiser(quantize)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[n, T, width] to [n, width]."""
        logits = self.logits(x, mask).masked_fill(mask == 0, _MASKED_LOGIT)
        return self.range((self.r01(logits.softmax(1)) * x).sum(1))


class PublishedPQRNN(nn.Module):
    """The pQRNN of the published code, with what that has by mistake.

    Bottleneck, bidirectional QRNN layers, attention pooling, and for classes a dense layer with
    batch norm, as sections 10 to 13 of the specification say; the page "Differences from the
    reference" lists what this changes. ``train()`` and ``eval()`` are the published modes of the
    same names; the one for a single text without a mask, whose weights are quantised later by a
    converter, is not here.

    Weights are laid out as published, [inputs, outputs] and [k, inputs, outputs]. There is no model
    file of such a graph; ``state_dict`` keeps it.

    Args:
        config: With ``task="classification"``, or ``task="embedding"`` and an ``output_size`` of
            twice the ``state_size``, for the pooled vector itself. ``zoneout`` is p of layer 1,
            layer j has ``p ** j``.
        quantize: Put weights, activations and gates on grids of 8 bits; otherwise all
            fake quantisation is the identity.

    Raises:
        ValueError: ``config`` asks for what the published graph does not have, among it
            ``pooling="ifo"``, which does not run as published.
    """

    def __init__(self, config: PQRNNConfig, *, quantize: bool = True) -> None:
        super().__init__()
        _check(config)
        self.config = config
        width = config.bottleneck_size
        self.bottleneck = Dense(config.projection.feature_size, width, relu=True, quantize=quantize)
        layers = []
        for number in range(1, config.num_layers + 1):
            layer = QRNNLayer(
                width,
                config.state_size,
                taps=config.kernel_size,
                pooling=config.pooling,
                zoneout=config.zoneout**number,
                quantize=quantize,
            )
            layers.append(layer)
            width = config.layer_size
        self.layers = nn.ModuleList(layers)
        self.attention = AttentionPooling(width, quantize)
        self.head: Dense | None = None
        if config.labels:
            self.head = Dense(width, len(config.labels), relu=False, quantize=quantize)

    def forward(
        self,
        features: Tensor,
        offsets: Tensor | None = None,
        *,
        lengths: Tensor | None = None,
        index: Tensor | None = None,
    ) -> Tensor:
        """Logits [n, labels], or pooled vectors [n, 2H].

        Args:
            features: Ragged [tokens, F] with ``offsets``, or padded [n, T, F]; any real dtype. How
                much padding there is does not matter.
            offsets: int64 [n + 1] of ragged features.
            lengths: Integers [n] of padded features; all of T when absent.
            index: With ``offsets``: int64 [tokens], the row of ``features`` of each token.

        Raises:
            ValueError: A shape does not fit, or lengths are out of range.
        """
        rows, offsets = to_ragged(features, offsets, lengths)
        size = self.config.projection.feature_size
        if rows.shape[1] != size:
            raise ValueError(f"features must be {size} wide, got {tuple(features.shape)}")
        if index is not None:
            rows = rows[index]
        # One step of padding more than needed, so that there is one if no text has a token.
        valid = nn.functional.pad(valid_places(offsets), (0, 1))
        x = padded(rows.to(self.bottleneck.weight.dtype), valid, 0.0)
        mask = valid.unsqueeze(2).to(x.dtype)
        x = self.bottleneck(x, mask)
        for layer in self.layers:
            x = layer(x, mask)
        pooled = self.attention(x, mask)
        return pooled if self.head is None else self.head(pooled)

    def l2_penalty(self, scale: float) -> Tensor:
        """``scale * sum(w ** 2) / 2`` over weights and biases, batch norm's parameters left out."""
        layers = [module for module in self.modules() if isinstance(module, WeightedLayer)]
        squares = [w.square().sum() for layer in layers for w in (layer.weight, layer.bias)]
        return torch.stack(squares).sum() * (scale / 2)

    def export_tensors(self) -> NoReturn:
        """There is nothing to export.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "a published graph has no model file, as no engine runs batch norm and ReLU in "
            "attention; keep its state_dict()"
        )


def _check(config: PQRNNConfig) -> None:
    for name, allowed in _ALLOWED.items():
        value: object = config
        for part in name.split("."):
            value = getattr(value, part)
        if value not in allowed:
            choices = " or ".join(repr(each) for each in allowed)
            raise ValueError(f"{name} must be {choices} in the published graph, got {value!r}")
    if config.task == "embedding" and config.output_size != config.layer_size:
        raise ValueError(
            f"output_size must be twice the state_size, {config.layer_size}, in the published "
            f"graph, got {config.output_size!r}"
        )
