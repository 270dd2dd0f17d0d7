"""Products of ragged rows: the values and gradients of torch's own, for any number of rows."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pqrnn_native.nn import products


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 200])
@pytest.mark.parametrize("bias", [False, True])
def test_values_and_gradients_in_bfloat16(rows: int, bias: bool) -> None:
    """Small whole numbers are exact in bfloat16, so both ways must agree to the bit."""
    generator = torch.Generator().manual_seed(rows)

    def whole(*shape: int) -> torch.Tensor:
        return torch.randint(-3, 4, shape, generator=generator).float().requires_grad_()

    x, weight, offset = whole(rows, 5), whole(7, 5), whole(7) if bias else None
    wanted = x @ weight.T + (0 if offset is None else offset)
    inputs = [x, weight] if offset is None else [x, weight, offset]
    slope = torch.randint(-2, 3, wanted.shape, generator=generator).float()
    expected = torch.autograd.grad(wanted, inputs, slope)
    with torch.autocast("cpu", torch.bfloat16):
        found = products.linear(x, weight, offset)
    assert found.dtype == torch.bfloat16
    assert found.shape == (rows, 7)
    assert torch.equal(found.float(), wanted)
    for gradient, right in zip(
        torch.autograd.grad(found, inputs, slope.bfloat16()), expected, strict=True
    ):
        assert torch.equal(gradient, right)


def test_the_dtype_of_products_is_autocasts_or_the_weights_own() -> None:
    weight = torch.zeros(2, 3, dtype=torch.float64)
    assert products.product_dtype(weight) == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert products.product_dtype(weight) == torch.bfloat16
        with torch.autocast("cpu", enabled=False):
            assert products.product_dtype(weight) == torch.float64


def test_only_few_shapes_are_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plain = torch.nn.functional.linear

    def spy(x: torch.Tensor, *others: torch.Tensor | None) -> torch.Tensor:
        seen.append(len(x))
        return plain(x, *others)

    monkeypatch.setattr(torch.nn.functional, "linear", spy)
    weight = torch.ones(3, 2)
    for rows in (1, 2, 100, 128):
        with torch.autocast("cpu", torch.bfloat16):
            products.linear(torch.ones(rows, 2), weight)
        products.linear(torch.ones(rows, 2), weight)
    assert seen == [64, 1, 64, 2, 128, 100, 128, 128]
