"""Building blocks of the published graph: fake quantisation, batch norm, dense layer, convolution.

Sections 11 and 12.1 of the specification, defects and all; :mod:`.published` puts them together.
Sequences are padded boxes [n, T, width] with a mask [n, T, 1] of ones and zeros.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "ActivationQuantiser",
    "BatchNorm",
    "Convolution",
    "Dense",
    "FixedRange",
    "WeightedLayer",
    "fake_quantise",
]

_LEVELS = 255
_EPS = 1e-9
# Shares of the newest batch, not of the past: the published averages are the wrong way round.
_RANGE_DECAY = 0.99
_NORM_DECAY = 0.999


class _FakeQuantise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        if not bool(high > low):  # nothing but 0 can be represented
            ctx.save_for_backward(torch.ones_like(x, dtype=torch.bool))
            return torch.zeros_like(x)
        # Factors before steps: with [-1, 1] both ties below are then exact in any dtype.
        factor, step = _LEVELS / (high - low), (high - low) / _LEVELS
        # Halves go down here and up below: the zero point of [-1, 1] is 127, and 1 becomes 128
        # steps, as published.
        zero = torch.ceil(-low * factor - 0.5)
        first, last = -zero * step, (_LEVELS - zero) * step
        ctx.save_for_backward((x >= first) & (x <= last))
        return torch.floor(x.clamp(first, last) * factor + 0.5) * step

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None


def fake_quantise(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The nearest of 256 evenly spaced levels, moved a little so that 0 is one of them.

    Args:
        x: Any shape, floating point.
        low: The lowest level before that move, of no dimension and at most 0.
        high: The highest, at least 0.

    Returns:
        As ``x``. Gradients pass unchanged between the lowest and the highest level, and are 0
        beyond; the range has none.
    """
    out: Tensor = _FakeQuantise.apply(x, low, high)
    return out


class FixedRange(nn.Module):
    """R01 and R11: fake quantisation to a range that is known beforehand, and no activation.

    [-1, 1] becomes [-0.99608, 1.00392] in steps of 2/255.

    Args:
        low: The range's start, at most 0.
        high: Its end, at least 0.
        quantize: Without it the module is the identity.
    """

    def __init__(self, low: float, high: float, quantize: bool) -> None:
        super().__init__()
        self.low, self.high, self.quantize = low, high, quantize

    def forward(self, x: Tensor) -> Tensor:
        """As :func:`fake_quantise`."""
        if not self.quantize:
            return x
        return fake_quantise(x, x.new_tensor(self.low), x.new_tensor(self.high))


class ActivationQuantiser(nn.Module):
    """Fake quantisation to the batch's own range while training, to the stored one otherwise.

    Either includes 0. A batch has a share of 0.99 in what is stored, ``low`` and ``high``, which
    are 0 and 1 at first.

    Args:
        quantize: Without it the module is the identity, and stores nothing.
    """

    low: Tensor
    high: Tensor

    def __init__(self, quantize: bool) -> None:
        super().__init__()
        self.quantize = quantize
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """As :func:`fake_quantise`."""
        if not self.quantize or not x.numel():
            return x
        if not self.training:
            return fake_quantise(x, self.low, self.high)
        low, high = x.detach().amin().clamp(max=0), x.detach().amax().clamp(min=0)
        self.low.lerp_(low, _RANGE_DECAY)
        self.high.lerp_(high, _RANGE_DECAY)
        return fake_quantise(x, low, high)


class BatchNorm(nn.Module):
    """Published batch norm: epsilon 1e-9, and a share of 0.999 for the batch in what is stored.

    Of sequences, the "variance" is the second moment of the valid positions, not centred, and the
    output is zero in the padding.

    Args:
        channels: Width of the last dimension.
    """

    moving_mean: Tensor
    moving_variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.offset = nn.Parameter(torch.zeros(channels))
        self.register_buffer("moving_mean", torch.zeros(channels))
        self.register_buffer("moving_variance", torch.ones(channels))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[n, channels] without a mask, [n, T, channels] with one."""
        mean, variance = self.moving_mean, self.moving_variance
        if self.training:
            mean, variance = self._moments(x, mask)
        y = (x - mean) * torch.rsqrt(variance + _EPS) * self.scale + self.offset
        return y if mask is None else y * mask

    def _moments(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        if mask is None:
            count = float(len(x))
            mean = x.sum(0) / max(count, 1)
            variance = (x - mean).square().sum(0) / max(count, 1)
        else:
            count = float(mask.sum())
            mean = (x * mask).sum((0, 1)) / max(count, 1)
            variance = (x * mask).square().sum((0, 1)) / max(count, 1)
        if count:
            self.moving_mean.lerp_(mean.detach(), _NORM_DECAY)
            self.moving_variance.lerp_(variance.detach(), _NORM_DECAY)
        return mean, variance


class WeightedLayer(nn.Module):
    """What dense layers and convolutions share: weight and bias, norm, ReLU, quantiser, in order.

    Args:
        shape: Of the weight; the last two dimensions are inputs and outputs.
        relu: Whether there is an activation.
        quantize: Without it neither weight nor output is quantised.
    """

    def __init__(self, shape: tuple[int, ...], relu: bool, quantize: bool) -> None:
        super().__init__()
        self.relu, self.quantize = relu, quantize
        taps = shape[0] if len(shape) == 3 else 1
        bound = (6 / (taps * (shape[-2] + shape[-1]))) ** 0.5  # Glorot uniform
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(shape[-1]))
        self.norm = BatchNorm(shape[-1])
        self.range = ActivationQuantiser(quantize)

    def quantised_weight(self) -> Tensor:
        """The weight on 256 levels between its least and largest element of the moment, and 0."""
        if not self.quantize:
            return self.weight
        weight = self.weight.detach()
        return fake_quantise(self.weight, weight.amin().clamp(max=0), weight.amax().clamp(min=0))

    def finish(self, product: Tensor, mask: Tensor | None) -> Tensor:
        """Everything after the product with the weight."""
        y = self.norm(product + self.bias, mask)
        return self.range(torch.relu(y) if self.relu else y)


class Dense(WeightedLayer):
    """A dense layer; ``weight`` [inputs, outputs] as published.

    Args:
        inputs: Width of the input.
        outputs: Width of the output.
        relu: Whether there is an activation.
        quantize: As for :class:`WeightedLayer`.
    """

    def __init__(self, inputs: int, outputs: int, *, relu: bool, quantize: bool) -> None:
        super().__init__((inputs, outputs), relu, quantize)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[n, inputs] without a mask, [n, T, inputs] with one."""
        return self.finish(x @ self.quantised_weight(), mask)


class Convolution(WeightedLayer):
    """The convolution of a gate, without activation; ``weight`` [k, inputs, outputs].

    Step t sees the steps t - k + 1 to t, in reverse t to t + k - 1, and zeros outside.

    Args:
        inputs: Width of the input.
        outputs: Width of the output.
        taps: Steps k that an output sees.
        reverse: See the steps that follow instead of those before.
        quantize: As for :class:`WeightedLayer`.
    """

    def __init__(
        self, inputs: int, outputs: int, *, taps: int, reverse: bool, quantize: bool
    ) -> None:
        super().__init__((taps, inputs, outputs), False, quantize)
        self.reverse = reverse

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[n, T, inputs] to [n, T, outputs]."""
        weight = self.quantised_weight()
        taps, steps = weight.shape[0], x.shape[1]
        before, after = (0, taps - 1) if self.reverse else (taps - 1, 0)
        wide = nn.functional.pad(x, (0, 0, before, after))
        product = wide[:, :steps] @ weight[0]
        for tap in range(1, taps):
            product = product + wide[:, tap : tap + steps] @ weight[tap]
        return self.finish(product, mask)
