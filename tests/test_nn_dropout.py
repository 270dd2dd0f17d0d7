"""Dropout on tensors: its mask, gradients, layouts, and where it takes the place of torch's."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dropout is a torch operator")

from torch.autograd import gradcheck, gradgradcheck

from pqrnn_native import PQRNNConfig
from pqrnn_native.nn import QRNN, PQRNNEncoder, functional, ops
from pqrnn_native.reference import recurrence as twin

mask = functools.lru_cache(None)(twin.dropout_mask)  # the same for all instruction sets
DTYPES = (torch.float32, torch.bfloat16, torch.float64)


@pytest.fixture
def keep_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (7, 5), (3, 11, 97)])
def test_mask_is_the_twins(isa: str, dtype: Any, shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, dtype=dtype) + 1
    y = ops.dropout(x, torch.tensor(5), 0.3)
    assert (y.dtype, y.shape) == (dtype, x.shape)
    dropped = torch.from_numpy(mask(5, 0.3, x.numel())).view(shape)
    expected = torch.where(dropped, 0, x / 0.7)
    torch.testing.assert_close(y, expected, rtol=8e-3 if dtype == torch.bfloat16 else 3e-7, atol=0)


@pytest.mark.parametrize("p", [1e-12, 0.1, 0.5, 0.9, 1 - 1e-12])
def test_share_and_expectation(isa: str, p: float) -> None:
    x = torch.ones(40, 50, 64)
    keep = ops.dropout(x, torch.tensor(1), p) != 0
    share = keep.double().mean().item()
    assert abs(share - (1 - p)) <= 5 * (p * (1 - p) / x.numel()) ** 0.5
    other = ops.dropout(x, torch.tensor(2), p) != 0
    assert torch.equal(keep, other) == (not 1e-9 < p < 1 - 1e-9)
    if share in (0, 1):
        return
    for a, b in ((keep, other), (keep[..., 1:], keep[..., :-1]), (keep[1:], keep[:-1])):
        correlation = ((a.double() - share) * (b.double() - share)).mean() / (p * (1 - p))
        assert abs(correlation) < 5 / a.numel() ** 0.5


def test_gradients_of_both_orders() -> None:
    x = torch.rand(5, 33, dtype=torch.float64, requires_grad=True)

    def call(x: Any) -> Any:
        return ops.dropout(x.sin(), torch.tensor(3), 0.4)

    assert gradcheck(call, (x,))
    assert gradgradcheck(call, (x,))


def test_gradient_is_dropped_where_the_value_is() -> None:
    # Through a transpose, so that the gradient has other strides than the input.
    x = torch.ones(40, 30, requires_grad=True)
    y = functional.dropout(x, 0.5)
    (gradient,) = torch.autograd.grad(y.t().contiguous().sum(), x, retain_graph=True)
    assert torch.equal(gradient, y)
    (gradient,) = torch.autograd.grad(y.sum(), x)  # an expanded scalar
    assert torch.equal(gradient, y)


def test_dropped_infinities_are_zeros() -> None:
    x = torch.full((1000,), float("nan"))
    x[::2] = float("inf")
    y = ops.dropout(x, torch.tensor(0), 0.5)
    dropped = torch.from_numpy(twin.dropout_mask(0, 0.5, 1000))
    assert (y[dropped] == 0).all()
    assert not y[~dropped].isfinite().any()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("layout", ["transposed", "strided", "expanded", "flipped"])
def test_strides_do_not_matter(isa: str, layout: str) -> None:
    x = torch.rand(6, 5, 8)
    x = {
        "transposed": x.transpose(0, 2),
        "strided": x[:, ::2, ::3],
        "expanded": x[:, :1].expand(6, 7, 8),
        "flipped": x.permute(1, 2, 0)[1:],
    }[layout]
    y = ops.dropout(x, torch.tensor(4), 0.5)
    assert torch.equal(y, ops.dropout(x.contiguous(), torch.tensor(4), 0.5))
    torch.library.opcheck(ops.dropout, (x.detach().requires_grad_(), torch.tensor(4), 0.5))


def test_any_number_of_threads_gives_the_same_bits(isa: str, keep_threads: None) -> None:
    x = torch.rand(300, 300)
    results = []
    for threads in (1, 2, 3, 8):
        torch.set_num_threads(threads)
        results.append(ops.dropout(x, torch.tensor(9), 0.2))
    assert all(torch.equal(result, results[0]) for result in results)


def test_large_outputs_lie_in_memory_that_is_used_again() -> None:
    x = torch.ones(1025, 1024)
    first = ops.dropout(x, torch.tensor(6), 0.5)
    del first
    again = ops.dropout(x, torch.tensor(7), 0.5)
    assert torch.equal(again[:4], ops.dropout(x[:4], torch.tensor(7), 0.5))
    assert set(again.unique().tolist()) == {0.0, 2.0}


def test_follows_the_random_state_of_torch() -> None:
    x = torch.ones(500)
    torch.manual_seed(0)
    first, second = functional.dropout(x, 0.5), functional.dropout(x, 0.5)
    torch.manual_seed(0)
    assert torch.equal(functional.dropout(x, 0.5), first)
    assert not torch.equal(first, second)


def test_nothing_to_drop_is_the_input_itself() -> None:
    x = torch.ones(5)
    state = torch.get_rng_state()
    assert functional.dropout(x, 0) is x
    assert functional.dropout(x, 0.5, training=False) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_other_devices_have_their_own() -> None:
    x = torch.ones(3, 4, device="meta", dtype=torch.float16)
    assert functional.dropout(x, 0.5).shape == (3, 4)


@pytest.mark.parametrize("probability", [1.0, -0.1, float("nan"), 2])
@pytest.mark.parametrize("training", [True, False])
def test_bad_probabilities_are_named(probability: float, training: bool) -> None:
    message = rf"probability must be in \[0, 1\), got {probability}"
    with pytest.raises(ValueError, match=message):
        functional.dropout(torch.ones(3), probability, training)
    with pytest.raises(ValueError, match=message):
        ops.dropout(torch.ones(3), torch.tensor(0), probability)
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\)"):
        PQRNNEncoder(PQRNNConfig(), probability)


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64])
def test_bad_dtypes_are_named(dtype: Any) -> None:
    with pytest.raises(TypeError, match=f"dtype must be .*got {dtype}"):
        functional.dropout(torch.ones(3, dtype=dtype), 0.5)


@pytest.mark.filterwarnings("ignore")  # torch's own
def test_compiled_equals_eager() -> None:
    if os.name == "nt" or not any(map(shutil.which, ("g++", "c++", "clang++"))):
        pytest.skip("torch.compile needs a C++ compiler")
    torch._dynamo.reset()
    x, seed = torch.rand(9, 70, requires_grad=True), torch.tensor(3)

    def fixed(x: Any) -> Any:
        return ops.dropout(x.sin(), seed, 0.3).square()

    def drawn(x: Any) -> Any:
        return functional.dropout(x.sin(), 0.3)

    y = torch.compile(fixed, fullgraph=True)(x)
    torch.testing.assert_close(y, fixed(x))
    torch.testing.assert_close(*(torch.autograd.grad(v.sum(), x)[0] for v in (y, fixed(x))))
    y = torch.compile(drawn, fullgraph=True)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient * x.sin(), y * x.cos())
    assert 0.2 < (y == 0).double().mean() < 0.4
    torch._dynamo.reset()


def test_layers_drop_with_it(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    calls = []

    def record(x: Any, probability: float, training: bool = True) -> Any:
        calls.append((tuple(x.shape), probability, training))
        return x

    monkeypatch.setattr(functional, "dropout", record)
    qrnn = QRNN(3, 4, num_layers=3, dropout=0.25)
    qrnn(torch.ones(2, 5, 3))
    qrnn.eval()(torch.ones(2, 5, 3))
    assert calls == [((2, 5, 4), 0.25, True)] * 2 + [((2, 5, 4), 0.25, False)] * 2
    calls.clear()
    config = PQRNNConfig(
        task="embedding", output_size=4, num_layers=2, state_size=6, bottleneck_size=8
    )
    encoder = PQRNNEncoder(config, 0.5)
    features = torch.ones(6, config.projection.feature_size)
    encoder(features, torch.tensor([0, 2, 6]))
    assert encoder.dropout == 0.5
    assert calls == [((6, width), 0.5, True) for width in (8, 12, 12)]
