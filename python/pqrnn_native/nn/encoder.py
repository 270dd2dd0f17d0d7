"""The pQRNN encoder: bottleneck, stacked QRNN layers with batch norm, attention pooling.

Everything runs on ragged rows (the tokens of all texts, one after the other), so that padding is
never computed and batch norm sees valid positions only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..config import PQRNNConfig
from . import functional, ops, portable, quantised
from .ops.layout import checked_probability
from .products import dense, dense_features, features_product
from .qrnn import gate_count, gate_product, glorot_
from .synchronised import batch_moments, sum_taps

__all__ = ["NormalizedQRNNLayer", "PQRNNEncoder", "to_ragged"]

_EPS = 1e-5
_MOMENTUM = 0.1
_TRAINED_SIZE = 0.1  # standard deviation of a bottleneck's weights after thousands of steps

Array = npt.NDArray[np.float32]


def to_ragged(
    features: Tensor, offsets: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Ragged rows [tokens, F] and int64 offsets [n + 1] of either kind of input.

    Raises:
        ValueError: Neither ragged with offsets nor padded, or a length is out of range.
    """
    if offsets is not None:
        if features.dim() != 2 or lengths is not None:
            raise ValueError(
                f"features must be [tokens, width] and lengths None when offsets are given, "
                f"got {tuple(features.shape)}"
            )
        if offsets.dim() != 1 or len(offsets) == 0:
            raise ValueError(f"offsets must be of shape [n + 1], got {tuple(offsets.shape)}")
        return features, offsets.to(torch.int64)
    if features.dim() != 3:
        raise ValueError(
            f"features must be [texts, tokens, width] without offsets, got {tuple(features.shape)}"
        )
    count, steps, _ = features.shape
    lengths = functional.as_lengths(lengths)
    if lengths is None:
        lengths = torch.full((count,), steps)
    lengths = lengths.to(features.device)
    if tuple(lengths.shape) != (count,) or bool(((lengths < 0) | (lengths > steps)).any()):
        raise ValueError(f"lengths must be {count} integers in [0, {steps}], got {lengths}")
    offsets = lengths.new_zeros(count + 1)
    offsets[1:] = lengths.cumsum(0)
    steps_of_all = torch.arange(steps, device=features.device)
    return features[steps_of_all < lengths.unsqueeze(1)], offsets


class NormalizedQRNNLayer(nn.Module):
    """One QRNN layer of one or two directions, with batch norm on its gates.

    Args:
        input_size: Width C of the input.
        hidden_size: State H of each direction.
        kernel_size: Tokens k that a gate sees.
        pooling: ``"f"``, ``"fo"`` or ``"ifo"``.
        bidirectional: Also run from the end; the output is then 2H wide.
        zoneout: Probability of keeping a state while training.

    ``weight`` [D, k, G * H, C]; ``scale``, ``shift`` and the running moments [D * G * H]. The gates
    have no bias of their own, batch norm's ``shift`` takes its place.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        kernel_size: int,
        pooling: str,
        bidirectional: bool,
        zoneout: float,
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.kernel_size = kernel_size
        self.pooling = pooling
        self.direction = "both" if bidirectional else "forward"
        self.zoneout = zoneout
        self.synchronised = False
        directions, rows = 1 + bidirectional, gate_count(pooling) * hidden_size
        self.weight = nn.Parameter(torch.empty(directions, kernel_size, rows, input_size))
        self.scale = nn.Parameter(torch.ones(directions * rows))
        self.shift = nn.Parameter(torch.zeros(directions * rows))
        self.register_buffer("running_mean", torch.zeros(directions * rows))
        self.register_buffer("running_var", torch.ones(directions * rows))
        glorot_(self.weight)

    def forward(self, rows: Tensor, offsets: Tensor) -> Tensor:
        """[tokens, C] and int64 offsets [n + 1] to [tokens, D * H]."""
        gates = gate_product(rows, self.weight)
        real = torch.float64 if gates.dtype == torch.float64 else torch.float32
        scale, shift = self.scale.to(real), self.shift.to(real)
        shape = (self.hidden_size, self.kernel_size, self.pooling, self.direction)
        native = ops.has_kernels(gates.device)
        if not self.training:
            factor = scale * torch.rsqrt(self.running_var.to(real) + _EPS)
            coefficients = torch.stack((self.running_mean.to(real), factor, shift))
            if native:
                return ops.gate_pool(gates, coefficients, None, offsets, None, None, *shape, 0.0)[0]
            directions = self.weight.shape[0]
            return portable.pool(gates, coefficients, offsets, *shape[:3], directions)
        seed = functional.draw_seed(self.zoneout, gates.device)
        if self.synchronised or not native:
            directions = self.weight.shape[0]
            summed = sum_taps(gates.to(real), offsets, self.kernel_size, directions)
            mean, variance, count = batch_moments(summed, self.synchronised)
            self._update(torch.stack((mean, variance)), count)
            coefficients = torch.stack((mean, scale * torch.rsqrt(variance + _EPS), shift))
            if not native:
                return portable.gate_pool(
                    summed, coefficients, offsets, self.hidden_size, self.pooling, directions,
                    self.zoneout,
                )  # fmt: skip
            shape = (self.hidden_size, 1, self.pooling, self.direction)
            return ops.gate_pool(
                summed, coefficients, None, offsets, None, seed, *shape, self.zoneout
            )[0]
        h, _, _, _, moments = ops.norm_gate_pool(
            gates, scale, shift, None, offsets, None, seed, *shape, self.zoneout, _EPS
        )
        self._update(moments, rows.shape[0])
        return h

    def whole(self, rows: Tensor, offsets: Tensor, unit: Tensor | float) -> Tensor:
        """The layer with everything on the grids of 8 bits, see :mod:`.quantised`.

        Args:
            rows: [tokens, C], whole numbers.
            offsets: int64 [n + 1].
            unit: what one of ``rows`` stands for.

        Returns:
            [tokens, D * H], whole numbers in steps of 1/127.
        """
        weight, scale = quantised.whole_weight(self.weight, (1, 3))
        directions = self.weight.shape[0]
        sums = sum_taps(
            gate_product(rows, weight).float(), offsets, self.kernel_size, directions
        ) * (scale.flatten() * unit)
        mean, variance = self.running_mean, self.running_var
        if self.training:
            mean, variance, count = batch_moments(sums, self.synchronised)
            self._update(torch.stack((mean, variance)), count)
        gates = (sums - mean) * (self.scale * torch.rsqrt(variance + _EPS)) + self.shift
        return quantised.gate_states(
            gates, offsets, self.hidden_size, self.pooling, directions,
            self.zoneout if self.training else 0.0,
        )  # fmt: skip

    @torch.no_grad()
    def _update(self, moments: Tensor, rows: int) -> None:
        if rows < 1:
            return
        mean, variance = moments.to(self.running_mean.dtype)
        _move(self.running_mean, self.running_var, mean, variance, rows)

    @torch.no_grad()
    def recentre(self, rows: Tensor, offsets: Tensor) -> None:
        """As :meth:`PQRNNEncoder.recentre`, from the layer's input."""
        summed = sum_taps(
            gate_product(rows, self.weight), offsets, self.kernel_size, self.weight.shape[0]
        )
        _recentre(summed, self.running_mean, self.running_var, self.scale, self.shift)

    def export_whole(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """Weights as int8, and batch norm folded into their scales [G * H] and biases."""
        factor, shift = _folded(self.scale, self.shift, self.running_mean, self.running_var)
        weight, scale = quantised.whole_weight(self.weight, (1, 3))
        out: dict[str, npt.NDArray[Any]] = {}
        for d, name in enumerate(("forward", "backward")[: self.weight.shape[0]]):
            channels = slice(d * self.weight.shape[2], (d + 1) * self.weight.shape[2])
            out[f"{prefix}.{name}.weight"] = export_whole(weight[d].transpose(0, 1))
            folded = scale[d].flatten().double() * factor[channels]
            out[f"{prefix}.{name}.weight_scale"] = export_tensor(folded)
            out[f"{prefix}.{name}.bias"] = export_tensor(shift[channels])
        return out

    def export_tensors(self, prefix: str) -> dict[str, Array]:
        """Weights [G * H, k, C] and biases [G * H] per direction, batch norm folded in."""
        factor, shift = _folded(self.scale, self.shift, self.running_mean, self.running_var)
        out = {}
        for d, name in enumerate(("forward", "backward")[: self.weight.shape[0]]):
            channels = slice(d * self.weight.shape[2], (d + 1) * self.weight.shape[2])
            weight = self.weight[d].detach().double() * factor[channels, None]
            out[f"{prefix}.{name}.weight"] = export_tensor(weight.transpose(0, 1))
            out[f"{prefix}.{name}.bias"] = export_tensor(shift[channels])
        return out

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Array], prefix: str) -> None:
        """The inverse of :meth:`export_tensors`: batch norm becomes the identity plus the bias."""
        names = ("forward", "backward")[: self.weight.shape[0]]
        shifts = []
        for d, name in enumerate(names):
            weight = _tensor(tensors, f"{prefix}.{name}.weight")
            _copy(f"{prefix}.{name}.weight", weight.transpose(0, 1), self.weight[d])
            shifts.append(_tensor(tensors, f"{prefix}.{name}.bias"))
        _copy(f"{prefix}.*.bias", torch.cat(shifts), self.shift)
        _reset_norm(self.scale, self.running_mean, self.running_var)


class PQRNNEncoder(nn.Module):
    """Ternary features of texts to one vector per text and one per token.

    ``b = relu(BN(x W0^T))``, ``num_layers`` bidirectional QRNN layers with batch norm on the gates,
    zoneout ``p ** (l + 1)`` in layer l, and attention pooling with ``attention_heads`` heads over
    the last layer's output (with ``skip`` the bottleneck's output before it).

    Differs from the published graph (specification, sections 11 to 13) in what that has by
    mistake: variance is centred, moving averages move slowly, attention logits have neither ReLU
    nor batch norm. :class:`PublishedPQRNN` has it all.

    Args:
        config: The hyper-parameters.
        dropout: Dropout on the output of the bottleneck and of each layer while training.

    Raises:
        ValueError: ``dropout`` is not in [0, 1).
    """

    def __init__(self, config: PQRNNConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.dropout = float(checked_probability("dropout", dropout))
        width = config.bottleneck_size
        # Batch norm takes a bias away again.
        self.bottleneck = nn.Linear(config.projection.feature_size, width, bias=False)
        self.bottleneck_norm = nn.BatchNorm1d(width, eps=_EPS, momentum=_MOMENTUM)
        nn.init.xavier_uniform_(self.bottleneck.weight)
        directions = 2 if config.bidirectional else 1
        layers = []
        for layer in range(config.num_layers):
            layers.append(
                NormalizedQRNNLayer(
                    width,
                    config.state_size,
                    config.kernel_size,
                    config.pooling,
                    config.bidirectional,
                    config.zoneout ** (layer + 1),
                )
            )
            width = directions * config.state_size
        self.layers = nn.ModuleList(layers)
        self.synchronised = False
        self.coarse = False
        self.width = width + (config.bottleneck_size if config.skip else 0)
        if config.precision == "int8":
            self.bottleneck_range = quantised.GridRange()
            self.pooled_range = quantised.GridRange()
        self.attention = nn.Linear(self.width, config.attention_heads)
        nn.init.xavier_uniform_(self.attention.weight)
        nn.init.zeros_(self.attention.bias)

    def synchronise(self) -> None:
        """From now on take batch norm's statistics over the rows of all processes.

        Slower than each process by itself, and what one process would compute of the whole batch.
        """
        self.synchronised = True
        for layer in self.layers:
            layer.synchronised = True

    def coarsen(self) -> None:
        """From now on compute with bottleneck weights of four levels, as 2 bits will hold them.

        Not with ``precision="int8"``, which has a grid of its own.
        """
        self.coarse = True

    def _bottleneck_weight(self) -> Tensor:
        weight = self.bottleneck.weight
        return quantised.four_levels(weight) if self.coarse else weight

    def forward(
        self, features: Tensor, offsets: Tensor, index: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode ragged features.

        Args:
            features: Features of all tokens, [tokens, F], of any real dtype; a sparse matrix where
                most are zero, see ``token_hashes`` of :class:`.ProjectionConfig`.
            offsets: int64 [n + 1]; text s has the rows ``offsets[s]:offsets[s + 1]``.
            index: int64 [tokens]: token t has the features ``features[index[t]]``, as from
                ``Projection.ragged_unique``, so that a repeated word is multiplied once.

        Returns:
            One vector per text [n, P] (zero for a text without tokens) and per token [tokens, P].

        Raises:
            ValueError: A shape does not fit or offsets are not those of the rows.
        """
        size = self.config.projection.feature_size
        if features.dim() != 2 or features.shape[1] != size:
            raise ValueError(f"features must be [tokens, {size}], got {tuple(features.shape)}")
        if self.config.precision == "int8":
            return self._whole(features, offsets, index)
        rows = features_product(features, self._bottleneck_weight())
        if index is not None:
            rows = rows[index]
        bottleneck = self._dropped(torch.relu(self._normalized(rows)))
        rows = bottleneck
        for layer in self.layers:
            rows = self._dropped(layer(rows, offsets))
        if self.config.skip:
            rows = torch.cat((bottleneck.to(rows.dtype), rows), 1)
        pooled = portable.attend(rows, dense(self.attention, rows).to(rows.dtype), offsets)
        return pooled, rows

    def _whole(
        self, features: Tensor, offsets: Tensor, index: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """:meth:`forward` on the grids of 8 bits; in evaluation :mod:`.exact` is the last word."""
        rows = self._normalized(self._whole_product(features, index))
        if self.training:
            self.bottleneck_range.observe(torch.relu(rows))
        step = self.bottleneck_range.value() / 255
        low = quantised.rounded((rows / step).clamp(0, 255))
        states, unit = self._dropped(low), step
        for layer in self.layers:
            states = self._dropped(layer.whole(states, offsets, unit))
            unit = torch.full_like(step, 1 / 127)
        rows = states * unit
        if self.config.skip:
            rows = torch.cat((self._dropped(low) * step, rows), 1)
        logits = quantised.fake_linear(self.attention, rows)
        pooled = portable.attend(rows, logits.to(rows.dtype), offsets)
        width = self.config.bottleneck_size if self.config.skip else 0
        if self.training:
            self.pooled_range.observe(pooled[:, width:])
        end = self.pooled_range.value().clamp_max(1.0)
        parts = [
            quantised.on_grid(pooled[:, :width], 0, 255, step),
            quantised.on_grid(pooled[:, width:], -127, 127, end / 127),
        ]
        return torch.cat(parts, 1), rows

    def _whole_product(self, features: Tensor, index: Tensor | None) -> Tensor:
        weight, scale = quantised.whole_weight(self.bottleneck.weight, (1,))
        features = dense_features(features).to(weight.dtype)
        if self.config.projection.has_extras:
            features = quantised.on_grid(features, -127, 127, 1 / 127)
        # Sums of thousands of whole numbers would lose their last ones in bfloat16.
        with torch.autocast(features.device.type, enabled=False):
            rows = nn.functional.linear(features, weight) * scale.flatten()
        return rows if index is None else rows[index]

    def _dropped(self, rows: Tensor) -> Tensor:
        return functional.dropout(rows, self.dropout, self.training)

    def _normalized(self, rows: Tensor) -> Tensor:
        norm = self.bottleneck_norm
        if self.training and self.synchronised:
            return normalize_rows(norm, rows)
        # torch refuses to train on fewer than two rows; there the running moments serve.
        if self.training and rows.shape[0] < 2:
            return nn.functional.batch_norm(
                rows, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=_EPS
            )
        return norm(rows)

    @torch.no_grad()
    def recentre(self, features: Tensor, offsets: Tensor, index: Tensor | None = None) -> None:
        """Take batch norm's moments from these texts, and change nothing in eval mode.

        A model file has batch norm folded into its weights, so that after :meth:`load_tensors` the
        norms are the identity in eval mode alone: training would begin by dividing by each batch's
        own moments. With moments of like texts, training begins with what the file computes.

        Batch norm also hides the size of the weights before it. That of the bottleneck's grows in
        training, which slows it down; each of its rows gets the size back that folding took away.

        Args:
            features, offsets, index: as for :meth:`forward`; of more than one token.
        """
        training = self.training
        self.eval()
        whole = self.config.precision == "int8"
        norm = self.bottleneck_norm
        factor = _TRAINED_SIZE / self.bottleneck.weight.std(1).clamp_min(1e-12)
        self.bottleneck.weight *= factor[:, None]
        norm.running_mean *= factor
        norm.weight /= factor
        if whole:
            rows = self._whole_product(features, index)
        else:
            rows = features_product(features, self._bottleneck_weight())
            rows = rows if index is None else rows[index]
        _recentre(rows, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        rows = torch.relu(norm(rows))
        if whole and not float(self.bottleneck_range.end):
            self.bottleneck_range.observe(rows)
        for layer in self.layers:
            layer.recentre(rows, offsets)
            rows = layer.whole(rows, offsets, 1.0) / 127 if whole else layer(rows, offsets)
        self.train(training)

    def export_tensors(self) -> dict[str, npt.NDArray[Any]]:
        """All tensors under their names in model files, batch norm folded in.

        float32; with ``precision="int8"`` weights are int8 with their scales as float32.
        """
        norm = self.bottleneck_norm
        factor, shift = _folded(norm.weight, norm.bias, norm.running_mean, norm.running_var)
        out: dict[str, npt.NDArray[Any]]
        if self.config.precision == "int8":
            weight, scale = quantised.whole_weight(self.bottleneck.weight, (1,))
            bottleneck = export_tensor(self.bottleneck_range.value())
            pooled = export_tensor(self.pooled_range.value().clamp_max(1.0))
            out = {
                "bottleneck.weight": export_whole(weight),
                "bottleneck.weight_scale": export_tensor(scale.flatten().double() * factor),
                "bottleneck.bias": export_tensor(shift),
                "bottleneck.range": bottleneck,
                "pooled.range": np.concatenate([bottleneck, pooled][not self.config.skip :]),
            }
            for index, layer in enumerate(self.layers):
                out |= layer.export_whole(f"layers.{index}")
            return out | export_linear(self.attention, "attention", whole=True)
        out = {
            "bottleneck.weight": export_tensor(
                self._bottleneck_weight().double() * factor[:, None]
            ),
            "bottleneck.bias": export_tensor(shift),
        }
        for index, layer in enumerate(self.layers):
            out |= layer.export_tensors(f"layers.{index}")
        return out | export_linear(self.attention, "attention")

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Array]) -> None:
        """The inverse of :meth:`export_tensors`; to go on training, then :meth:`recentre`."""
        norm = self.bottleneck_norm
        _copy("bottleneck.weight", _tensor(tensors, "bottleneck.weight"), self.bottleneck.weight)
        _copy("bottleneck.bias", _tensor(tensors, "bottleneck.bias"), norm.bias)
        _reset_norm(norm.weight, norm.running_mean, norm.running_var)
        for index, layer in enumerate(self.layers):
            layer.load_tensors(tensors, f"layers.{index}")
        load_linear(self.attention, tensors, "attention")
        if self.config.precision == "int8" and "bottleneck.range" in tensors:
            load_tensor(self.bottleneck_range.end, tensors, "bottleneck.range")
            self.pooled_range.end.copy_(_tensor(tensors, "pooled.range")[-1:])


def normalize_rows(norm: nn.BatchNorm1d, rows: Tensor) -> Tensor:
    """Batch norm of [tokens, width] over the rows of all processes, with running moments."""
    rows = rows if rows.dtype == torch.float64 else rows.float()
    mean, variance, count = batch_moments(rows, True)
    _move(norm.running_mean, norm.running_var, mean.detach(), variance.detach(), count)
    norm.num_batches_tracked += 1
    return (rows - mean) * torch.rsqrt(variance + norm.eps) * norm.weight + norm.bias


@torch.no_grad()
def _move(
    running_mean: Tensor, running_var: Tensor, mean: Tensor, variance: Tensor, rows: int
) -> None:
    running_mean.lerp_(mean, _MOMENTUM)
    # As torch: the batch's own variance divides by n, the running one by n - 1.
    running_var.lerp_(variance * (rows / max(rows - 1, 1)), _MOMENTUM)


def export_linear(
    linear: nn.Linear, name: str, *, whole: bool = False
) -> dict[str, npt.NDArray[Any]]:
    """``<name>.weight`` and, where there is one, ``<name>.bias``.

    Args:
        linear: the layer.
        name: in model files.
        whole: the weight as int8 with its ``<name>.weight_scale``, instead of float32.
    """
    out: dict[str, npt.NDArray[Any]] = {
        f"{name}.{key}": export_tensor(value) for key, value in linear.named_parameters()
    }
    if whole:
        out |= export_weight(linear.weight, f"{name}.weight")
    return out


def export_weight(weight: Tensor, name: str) -> dict[str, npt.NDArray[Any]]:
    """A weight [rows, columns] as int8, and its scales [rows] as ``<name>_scale``."""
    values, scale = quantised.whole_weight(weight, (1,))
    return {name: export_whole(values), f"{name}_scale": export_tensor(scale.flatten())}


def load_linear(linear: nn.Linear, tensors: Mapping[str, Array], name: str) -> None:
    """The inverse of :func:`export_linear`."""
    for key, value in linear.named_parameters():
        load_tensor(value, tensors, f"{name}.{key}")


def export_tensor(value: Tensor) -> Array:
    """As a contiguous float32 array."""
    return np.ascontiguousarray(value.detach().float().cpu().numpy())


def export_whole(value: Tensor) -> npt.NDArray[np.int8]:
    """Whole numbers as a contiguous int8 array."""
    return np.ascontiguousarray(value.detach().to(torch.int8).cpu().numpy())


@torch.no_grad()
def load_tensor(value: Tensor, tensors: Mapping[str, Array], name: str) -> None:
    """The inverse of :func:`export_tensor` for a tensor of a model file.

    Raises:
        ValueError: It is missing or of another shape.
    """
    _copy(name, _tensor(tensors, name), value)


def _folded(weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Batch norm in eval mode as ``x * factor + shift``, in float64."""
    weight, bias, mean, var = (t.detach().double() for t in (weight, bias, mean, var))
    factor = weight / torch.sqrt(var + _EPS)
    return factor, bias - mean * factor


def _recentre(rows: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Other moments for ``(x - mean) / sqrt(var + eps) * weight + bias``, the same value."""
    new_mean, new_var, _ = batch_moments(rows.to(mean.dtype), False)
    factor = weight * torch.rsqrt(var + _EPS)
    bias += (new_mean - mean) * factor
    weight.copy_(factor * torch.sqrt(new_var + _EPS))
    mean.copy_(new_mean)
    var.copy_(new_var)


def _tensor(tensors: Mapping[str, Array], name: str) -> Tensor:
    if name not in tensors:
        raise ValueError(f"tensors must hold {name!r}, got {sorted(tensors)}")
    return torch.from_numpy(np.array(tensors[name], dtype=np.float32))


def _copy(name: str, source: Tensor, target: Tensor) -> None:
    if source.shape != target.shape:
        raise ValueError(
            f"{name} must be of shape {tuple(target.shape)}, got {tuple(source.shape)}"
        )
    target.copy_(source)


def _reset_norm(weight: Tensor, mean: Tensor, var: Tensor) -> None:
    mean.zero_()
    var.fill_(1)
    weight.fill_((1 + _EPS) ** 0.5)
