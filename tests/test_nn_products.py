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


def sparse_and_dense(rows: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    dense = torch.randint(-9, 10, (rows, size), generator=generator).clamp(-10, 1)
    dense = torch.where(dense < -8, -1, dense.clamp_min(0)).to(torch.int8)
    columns = dense.nonzero()[:, 1]
    starts = torch.cat((torch.zeros(1, dtype=torch.long), (dense != 0).sum(1).cumsum(0)))
    return products.sparse_features(starts, columns, dense[dense != 0], size), dense


@pytest.mark.parametrize("rows", [0, 1, 7, 64])
@pytest.mark.parametrize("half", [False, True])
def test_sparse_features(rows: int, half: bool) -> None:
    sparse, dense = sparse_and_dense(rows, 40)
    assert torch.equal(products.dense_features(sparse), dense)
    assert products.dense_features(dense) is dense
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-3, 4, (5, 40), generator=generator).float().requires_grad_()
    wanted = dense.float() @ weight.T
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        found = products.features_product(sparse, weight)
    assert found.dtype == (torch.bfloat16 if half else torch.float32)
    assert torch.equal(found.float(), wanted)
    slope = torch.randint(-2, 3, wanted.shape, generator=generator).float()
    (expected,) = torch.autograd.grad(wanted, weight, slope)
    (gradient,) = torch.autograd.grad(found, weight, slope.to(found.dtype))
    assert torch.equal(gradient, expected)


def test_gradient_of_sparse_features() -> None:
    sparse, _ = sparse_and_dense(5, 12)
    weight = torch.randn(3, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: products.features_product(sparse, w), weight)


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


def features_and(weight: torch.Tensor, rows: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rows)
    return torch.randint(-1, 2, (rows, weight.shape[1]), generator=generator, dtype=torch.int8)


def bytewise(features: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        found = products.features_product(features, weight)
    assert found.dtype == torch.bfloat16
    return found


@pytest.mark.parametrize("rows", [0, 1, 5, 64, 77])
def test_features_times_weights_on_the_grid_of_bytes_are_exact(rows: int) -> None:
    """So are gradients whose column has 127 as its largest number, whatever is drawn."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randint(-127, 128, (7, 40), generator=generator).float()
    weight[:, 3] = 127.0
    weight = (weight / 4).requires_grad_()
    features = features_and(weight, rows)
    found = bytewise(features, weight)
    wanted = features.float() @ weight.detach().T
    assert torch.equal(found, wanted.bfloat16())
    slope = torch.randint(-127, 128, (rows, 7), generator=generator).float()
    slope[:1] = -127.0
    (gradient,) = torch.autograd.grad(found, weight, slope.bfloat16())
    assert torch.equal(gradient, slope.T @ features.float())


def test_features_product_is_off_by_half_a_step_of_each_weight_at_most() -> None:
    weight = torch.randn(9, 64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    features = features_and(weight, 33)
    found = bytewise(features, weight.float()).double()
    wanted = features.double() @ weight.T
    steps = weight.abs().amax(1) / 127
    bound = features.abs().sum(1)[:, None] * steps / 2 + found.abs() * 2**-8
    assert (found - wanted).abs().le(bound).all()
    # It is the bytes that were multiplied.
    assert not torch.equal(found, wanted.bfloat16().double())


def test_gradients_of_features_product_are_right_on_average() -> None:
    rows, draws = 50, 400
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(4, 16, generator=generator).requires_grad_()
    features = features_and(weight, rows)
    slope = torch.randn(rows, 4, generator=generator).bfloat16()
    torch.manual_seed(0)
    found = bytewise(features, weight)
    each = [torch.autograd.grad(found, weight, slope, retain_graph=True)[0] for _ in range(draws)]
    wanted = slope.double().T @ features.double()
    step = slope.double().abs().amax(0) / 127
    deviation = step * (rows / 4) ** 0.5  # of a draw: each of at most 50 roundings has step / 2
    assert not torch.equal(each[0], each[1])
    assert (each[0] - wanted).abs().le(6 * deviation[:, None]).all()
    mean = torch.stack(each).double().mean(0)
    assert (mean - wanted).abs().le(6 * deviation[:, None] / draws**0.5).all()


def test_features_product_of_nothing_but_zeros() -> None:
    weight = torch.zeros(3, 8, requires_grad=True)
    found = bytewise(features_and(weight, 4), weight)
    assert torch.equal(found, torch.zeros(4, 3, dtype=torch.bfloat16))
    (gradient,) = torch.autograd.grad(found, weight, torch.zeros(4, 3, dtype=torch.bfloat16))
    assert torch.equal(gradient, torch.zeros(3, 8))


def test_features_product_is_torchs_own_in_other_dtypes() -> None:
    weight = torch.randn(3, 8, generator=torch.Generator().manual_seed(4))
    features = features_and(weight, 5)
    wanted = features.float() @ weight.T
    assert torch.equal(products.features_product(features, weight), wanted)
    with torch.autocast("cpu", torch.bfloat16):
        found = products.features_product(features.float(), weight)
    assert torch.equal(found, features.bfloat16() @ weight.bfloat16().T)
