"""Plain torch for devices without kernels computes what the kernels compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pqrnn_native.nn import ops, portable

OFFSETS = torch.tensor([0, 5, 5, 6, 18, 21])  # 5, 0, 1, 12 and 3 tokens


class Elsewhere(torch.Tensor):
    """A CPU tensor that says it is on another device."""

    @property
    def device(self) -> Any:  # type: ignore[override]
        return torch.device("meta")


def close(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["f", "fo", "ifo"])
@pytest.mark.parametrize("taps", [1, 2, 4])
@pytest.mark.parametrize("directions", [1, 2])
def test_pooling(pooling: str, taps: int, directions: int) -> None:
    hidden, gates = 6, {"f": 2, "fo": 3, "ifo": 4}[pooling]
    width = directions * gates * hidden
    rows = torch.randn(21, width * taps, requires_grad=True)
    coefficients = torch.stack((torch.randn(width), torch.rand(width) + 0.5, torch.randn(width)))
    kind = "both" if directions == 2 else "forward"
    expected = ops.gate_pool(
        rows, coefficients, None, OFFSETS, None, None, hidden, taps, pooling, kind, 0.0
    )[0]
    actual = portable.pool(rows, coefficients, OFFSETS, hidden, taps, pooling, directions)
    close(actual, expected)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((out * weights).sum(), rows)[0] for out in (actual, expected)]
    close(*gradients)


def test_zoneout_keeps_states() -> None:
    # With f = sigmoid(-50) = 0 a step takes z = tanh(1) unless it keeps the state before, 0 at the
    # start: the share of steps in a row that are kept from the start falls as p, p^2, ...
    hidden, count, p = 1000, 3, 0.5
    rows = torch.cat((torch.full((count, hidden), 1.0), torch.full((count, hidden), -50.0)), 1)
    coefficients = torch.tensor([[0.0], [1.0], [0.0]]).expand(3, 2 * hidden)
    states = portable.gate_pool(rows, coefficients, torch.tensor([0, 3]), hidden, "f", 1, p)
    zero = (states == 0).float().mean(1)
    np.testing.assert_allclose(zero, [p, p**2, p**3], atol=0.08)  # 5 standard deviations
    close(states[states != 0], torch.full_like(states[states != 0], float(np.tanh(1.0))))


@pytest.mark.parametrize("heads", [1, 3])
def test_attention(heads: int) -> None:
    rows, logits = torch.randn(21, 12, requires_grad=True), torch.randn(21, heads)
    expected = ops.attend(rows, logits, OFFSETS, None)[0]
    actual = portable.attend(rows.as_subclass(Elsewhere), logits, OFFSETS).as_subclass(torch.Tensor)
    close(actual, expected)
    assert (actual[1] == 0).all()
