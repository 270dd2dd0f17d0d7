"""A quasi-recurrent layer with the manners of :class:`torch.nn.LSTM`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from . import functional, ops
from .ops.layout import checked_probability
from .products import linear

__all__ = ["QRNN", "gate_count", "gate_product", "glorot_"]

_GATES = {"f": 2, "fo": 3, "ifo": 4}


def gate_count(pooling: str) -> int:
    """Gates per state: z, f and what the pooling adds."""
    if pooling not in _GATES:
        raise ValueError(f"pooling must be one of 'f', 'fo', 'ifo', got {pooling!r}")
    return _GATES[pooling]


def glorot_(weight: Tensor) -> None:
    """Glorot uniform for [directions, taps, gates * hidden, inputs], gate by gate alike."""
    _, taps, rows, inputs = weight.shape
    bound = (6 / (taps * inputs + rows)) ** 0.5
    nn.init.uniform_(weight, -bound, bound)


class QRNN(nn.Module):
    """Quasi-recurrent network: convolved gates and a recurrent pooling without matrix products.

    Per layer and direction, with u the layer's input and k = ``kernel_size``:

        p[t] = bias + sum_j W[j] u[t - k + 1 + j]     (backward: u[t + j]; outside the sequence: 0)
        z = tanh(p_z);  f, o, i = sigmoid(p_f), sigmoid(p_o), sigmoid(p_i)
        c[t] = f[t] * c[t-1] + (1 - f[t]) * z[t]      (ifo: i[t] * z[t] instead)
        h[t] = o[t] * c[t]                            (f: h = c)

    (Bradbury, Merity, Xiong and Socher 2016, section 2.)

    Args:
        input_size: Width of the input.
        hidden_size: Width H of each direction's state.
        num_layers: Stacked layers.
        kernel_size: Steps that a gate sees, k.
        pooling: ``"f"``, ``"fo"`` or ``"ifo"``.
        bidirectional: Each layer also runs from the end; its output is then 2H wide.
        zoneout: Probability that a step keeps a channel's previous state while training.
        batch_first: Inputs and outputs are [batch, time, width], otherwise [time, batch, width].
        dropout: Dropout on the output of each layer but the last while training.
        bias: Whether gates have a bias.
        device: Where parameters are made.
        dtype: Their type.

    Parameters ``weight_l{n}`` [D, k, G * H, inputs] and ``bias_l{n}`` [D * G * H]: D directions, G
    gates in the order z, (i,) f, (o).

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        kernel_size: int = 3,
        pooling: str = "fo",
        bidirectional: bool = False,
        zoneout: float = 0.0,
        batch_first: bool = True,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, value in (
            ("input_size", input_size),
            ("hidden_size", hidden_size),
            ("num_layers", num_layers),
            ("kernel_size", kernel_size),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value!r}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.kernel_size = kernel_size
        self.pooling = pooling
        self.bidirectional = bidirectional
        self.zoneout = float(checked_probability("zoneout", zoneout))
        self.batch_first = batch_first
        self.dropout = float(checked_probability("dropout", dropout))
        self.bias = bias
        directions = 2 if bidirectional else 1
        rows = gate_count(pooling) * hidden_size
        width = input_size
        for layer in range(num_layers):
            weight = torch.empty(directions, kernel_size, rows, width, device=device, dtype=dtype)
            self.register_parameter(f"weight_l{layer}", nn.Parameter(weight))
            offset = torch.empty(directions * rows, device=device, dtype=dtype)
            self.register_parameter(f"bias_l{layer}", nn.Parameter(offset) if bias else None)
            width = directions * hidden_size
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot uniform weights, zero biases."""
        for layer in range(self.num_layers):
            glorot_(self.get_parameter(f"weight_l{layer}"))
            if self.bias:
                nn.init.zeros_(self.get_parameter(f"bias_l{layer}"))

    def extra_repr(self) -> str:
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, "
            f"kernel_size={self.kernel_size}, pooling={self.pooling!r}, "
            f"bidirectional={self.bidirectional}, zoneout={self.zoneout}, "
            f"batch_first={self.batch_first}, dropout={self.dropout}, bias={self.bias}"
        )

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | None = None,
        *,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Run all layers.

        Args:
            input: [batch, time, input_size] ([time, batch, input_size] without ``batch_first``),
                unbatched [time, input_size], or a packed sequence.
            hx: Initial states c, [layers * D, batch, H], unbatched [layers * D, H]; zeros when
                absent. With ``kernel_size`` > 1 the windows of the first steps still see zeros
                before the start, so that feeding a sequence in pieces is not the same as at once.
            lengths: Steps of each sequence of a padded batch, integers [batch]; padding is neither
                read nor computed, outputs are zero there.

        Returns:
            The last layer's h, as the input with width D * H, and the last states c of all layers
            as ``hx``.

        Raises:
            ValueError: A shape does not fit, or a length is out of range.
            TypeError: A dtype is not supported.
        """
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ValueError("lengths must be None with a packed sequence, which has its own")
            return self._forward_packed(input, hx)
        if input.dim() not in (2, 3) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"input must be [batch, time, {self.input_size}] or [time, {self.input_size}], "
                f"got {tuple(input.shape)}"
            )
        if input.dim() == 2:
            output, last = self.forward(
                input.unsqueeze(0 if self.batch_first else 1),
                None if hx is None else hx.unsqueeze(1),
                lengths=lengths,
            )
            assert isinstance(output, Tensor)
            return output.squeeze(0 if self.batch_first else 1), last.squeeze(1)
        if self.batch_first:
            return self._layers(input, hx, None, functional.as_lengths(lengths, input.device))
        lengths = functional.as_lengths(lengths, input.device)
        output, last = self._layers(input.transpose(0, 1), hx, None, lengths)
        return output.transpose(0, 1), last

    def _forward_packed(
        self, packed: PackedSequence, hx: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        if packed.data.shape[-1] != self.input_size:
            raise ValueError(
                f"input must have {self.input_size} channels, got {packed.data.shape[-1]}"
            )
        order = _ragged_order(packed.batch_sizes)
        to_ragged, from_ragged, offsets = (index.to(packed.data.device) for index in order)
        if hx is not None and packed.sorted_indices is not None:
            hx = hx.index_select(1, packed.sorted_indices)
        output, last = self._layers(packed.data.index_select(0, to_ragged), hx, offsets, None)
        if packed.unsorted_indices is not None:
            last = last.index_select(1, packed.unsorted_indices)
        return packed._replace(data=output.index_select(0, from_ragged)), last

    def _layers(
        self, rows: Tensor, hx: Tensor | None, offsets: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        directions = 2 if self.bidirectional else 1
        count = rows.shape[0] if offsets is None else offsets.shape[0] - 1
        states = (self.num_layers * directions, count, self.hidden_size)
        if hx is not None and tuple(hx.shape) != states:
            raise ValueError(f"hx must be of shape {states}, got {tuple(hx.shape)}")
        zoneout = self.zoneout if self.training else 0.0
        last_states = []
        for layer in range(self.num_layers):
            if layer:
                rows = functional.dropout(rows, self.dropout, self.training)
            weight = self.get_parameter(f"weight_l{layer}")
            gates = gate_product(rows, weight)
            h0 = None
            if hx is not None:
                h0 = hx[layer * directions : (layer + 1) * directions].transpose(0, 1)
                h0 = h0.to(gates.dtype)
            rows, _, last = ops.gate_pool(
                gates,
                self._coefficients(layer, gates.dtype),
                h0,
                offsets,
                lengths,
                functional.draw_seed(zoneout, gates.device),
                self.hidden_size,
                self.kernel_size,
                self.pooling,
                "both" if self.bidirectional else "forward",
                zoneout,
            )
            last_states.append(last.transpose(0, 1))
        return rows, torch.cat(last_states)

    def _coefficients(self, layer: int, dtype: torch.dtype) -> Tensor:
        real = torch.float64 if dtype == torch.float64 else torch.float32
        weight = self.get_parameter(f"weight_l{layer}")
        channels = weight.shape[0] * weight.shape[2]
        fixed = torch.zeros(2, channels, dtype=real, device=weight.device)
        fixed[1] = 1
        if self.bias:
            shift = self.get_parameter(f"bias_l{layer}").to(real)
        else:
            shift = torch.zeros_like(fixed[0])
        return torch.cat((fixed, shift.unsqueeze(0)))


def gate_product(rows: Tensor, weight: Tensor) -> Tensor:
    """Every tap of every gate of every row: [.., D * k * G * H] of [.., C] and [D, k, G * H, C].

    A time-major tensor keeps its memory order. Under autocast to float16, for which only CUDA has
    kernels, the product is widened.
    """
    flat = weight.flatten(0, 2)
    if rows.dim() == 3 and rows.stride(0) < rows.stride(1):
        gates = linear(rows.transpose(0, 1), flat).transpose(0, 1)
    else:
        gates = linear(rows, flat)
    if gates.dtype == torch.float16 and not ops.has_float16(gates.device):
        return gates.float()
    return gates


def _ragged_order(batch_sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Index tensors from packed rows to ragged rows and back, and the ragged offsets."""
    steps, count = len(batch_sizes), int(batch_sizes[0])
    lengths = (batch_sizes.unsqueeze(0) > torch.arange(count).unsqueeze(1)).sum(1)
    offsets = torch.zeros(count + 1, dtype=torch.int64)
    offsets[1:] = lengths.cumsum(0)
    step = torch.arange(steps).repeat_interleave(batch_sizes)
    sequence = torch.arange(len(step)) - (batch_sizes.cumsum(0) - batch_sizes)[step]
    from_ragged = offsets[sequence] + step
    to_ragged = torch.empty_like(from_ragged)
    to_ragged[from_ragged] = torch.arange(len(step))
    return to_ragged, from_ragged, offsets
