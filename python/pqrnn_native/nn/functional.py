"""The recurrence on tensors: the linear scan, QRNN pooling, and dropout between layers."""

from __future__ import annotations

import torch
from torch import Tensor

from . import ops
from .ops.layout import checked_probability

__all__ = ["dropout", "forget_mult", "qrnn_pool"]


def as_lengths(lengths: Tensor | None, device: torch.device | None = None) -> Tensor | None:
    """Lengths as the operators want them, on a device if one is given."""
    if lengths is None:
        return None
    if not isinstance(lengths, Tensor):
        lengths = torch.as_tensor(lengths)
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise TypeError(f"lengths must be integers, got {lengths.dtype}")
    return lengths.to(device, torch.int64)


def forget_mult(
    f: Tensor,
    x: Tensor,
    h0: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> Tensor:
    """``h[t] = f[t] * h[t-1] + x[t]`` along the second dimension.

    Args:
        f: [batch, time, width], float32, bfloat16 or float64, on CUDA devices float16 too; any
            strides with neighbouring channels, so that the transpose of a [time, batch, width]
            tensor costs nothing.
        x: As ``f``.
        h0: State before the first step, [batch, width]; zeros when absent.
        lengths: Steps of each sequence, integers [batch] in [0, time]; all when absent. Padding is
            neither read nor computed: outputs and gradients are zero there. On CUDA devices they
            are not read by the host, and those out of range are clamped.
        reverse: Run from the last step to the first.

    Returns:
        h, as ``f``. Differentiable any number of times. Types of 16 bits are storage only: the
        state is float32.

    Raises:
        TypeError: A dtype is not supported, or dtypes differ.
        ValueError: Shapes do not fit, or a length is out of range.

    The scan is Merity's "forget mult" and the recurrence of section 12.2 of the specification.
    """
    return ops.forget_mult(f, x, h0, None, as_lengths(lengths, f.device), reverse)


def draw_seed(probability: float, device: torch.device | None = None) -> Tensor | None:
    """A seed for zoneout or dropout from torch's random state; none where nothing is random.

    For a CUDA device it is drawn there, so that a CUDA graph draws another one at each replay.
    """
    if not probability:
        return None
    on_cuda = device is not None and device.type == "cuda"
    return torch.randint(2**63 - 1, (), device=device if on_cuda else None)


def dropout(x: Tensor, probability: float, training: bool = True) -> Tensor:
    """Zeros with a probability, and the rest scaled so that the expectation stays.

    ``y = 0`` with probability p, otherwise ``x / (1 - p)``, for each element on its own.

    Args:
        x: Of any shape and strides; on the CPU float32, bfloat16 or float64.
        probability: p, in [0, 1).
        training: Whether to drop anything.

    Returns:
        y, as ``x`` and contiguous; ``x`` itself if p is 0 or without ``training``. Differentiable
        any number of times. Masks depend on torch's random state and the shape alone, not on
        strides or threads; the backward pass draws them again, so that none is kept. Where ``x``
        is dropped its NaN and infinities are zeros too.

    Raises:
        TypeError: The dtype is not supported.
        ValueError: ``probability`` is out of range.

    Takes the place of :func:`torch.nn.functional.dropout`, which draws one random number after
    another on the CPU; on other devices it is that function, with its dtypes.
    """
    checked_probability("probability", probability)
    if not training or probability == 0:
        return x
    if x.device.type != "cpu":
        return torch.nn.functional.dropout(x, probability)
    return ops.dropout(x, draw_seed(probability), float(probability))


def qrnn_pool(
    z: Tensor,
    f: Tensor,
    o: Tensor | None = None,
    i: Tensor | None = None,
    *,
    h0: Tensor | None = None,
    lengths: Tensor | None = None,
    reverse: bool = False,
    zoneout: float = 0.0,
    return_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """QRNN pooling of activated gates: f (no ``o``), fo, or ifo (``i`` as well).

    ``c[t] = f[t] * c[t-1] + (1 - f[t]) * z[t]`` (ifo: ``i[t] * z[t]`` instead of the last product)
    and ``h[t] = o[t] * c[t]`` (f: ``h = c``).

    Args:
        z: Candidates, usually a tanh: [batch, time, width], dtype and strides as in
            :func:`forget_mult`.
        f: Forget gate in [0, 1], as ``z``.
        o: Output gate, as ``z``.
        i: Input gate, as ``z``; needs ``o``.
        h0: State c before the first step, [batch, width]; zeros when absent.
        lengths: Steps of each sequence, as in :func:`forget_mult`.
        reverse: Run from the last step to the first.
        zoneout: Probability that a step keeps the previous state of a channel, [0, 1). The masks
            depend on torch's random state alone, not on layout or threads.
        return_state: Return the state after the last step as well.

    Returns:
        h, as ``z``; with ``return_state`` the pair ``(h, c_last)``, c_last [batch, width].

    Raises:
        TypeError: A dtype is not supported, or dtypes differ.
        ValueError: Shapes do not fit, or ``lengths`` or ``zoneout`` is out of range.
        NotImplementedError: On the second derivative, which :func:`forget_mult` has.

    Bradbury, Merity, Xiong and Socher, "Quasi-Recurrent Neural Networks" (2016), section 2.1;
    zoneout as in section 12.2 of the specification: no rescaling.
    """
    seed = draw_seed(zoneout, z.device)
    h, _, last = ops.qrnn_pool(
        z, f, o, i, h0, as_lengths(lengths, z.device), seed, float(zoneout), reverse
    )
    return (h, last) if return_state else h
