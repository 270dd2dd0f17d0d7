"""Projection of tokens on tensors: the bits of the projection operator."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import pqrnn_native as pq
from pqrnn_native.nn import projection

WORDS = [b"turn", b"on", b"", b"the", "caf\u00e9".encode(), "\u4f60\u597d".encode(), b"x" * 41]
WORDS += [bytes(range(256)), b"\xff", b"12345678"]


@pytest.mark.parametrize("char", ["unsigned", "signed"])
def test_fingerprints_and_features(char: str) -> None:
    operator = pq.Projection(200, char=char)  # type: ignore[arg-type]
    data, offsets = projection.join_tokens(WORDS)
    fingerprints = projection.hash_tokens(data, offsets, char=char)
    expected = np.array([operator.codes(word) for word in WORDS], np.uint64)
    np.testing.assert_array_equal(fingerprints.numpy().view(np.uint64), expected[:, :2])
    packed = projection.packed_features(fingerprints, 200).numpy().view(np.uint64)
    expected[:, 6] &= np.uint64(0xFFFF)
    np.testing.assert_array_equal(packed, expected[:, :7])
    groups = expected[:, :7, None] >> np.arange(0, 64, 2, dtype=np.uint64) & np.uint64(3)
    ternary = np.array([0, 1, -1, 0])[groups.reshape(len(WORDS), -1)[:, :200]]
    for dtype in (torch.int8, torch.float16, torch.bfloat16, torch.float32):
        for tokens in (fingerprints, (data, offsets)):
            found = projection.ternary_features(tokens, 200, char=char, dtype=dtype)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found.float().numpy(), ternary)


def test_features_of_texts() -> None:
    operator = pq.Projection(512)
    text = "Stocks fell on Monday, the traders said."
    tokens = projection.join_tokens(operator.words(text))
    np.testing.assert_array_equal(
        projection.ternary_features(tokens, 512).numpy(), operator.ragged(text)[0]
    )


def test_product() -> None:
    tokens = projection.hash_tokens(*projection.join_tokens(WORDS))
    weight = torch.randn(24, 96, requires_grad=True)
    out = projection.ternary_linear(tokens, weight)
    features = projection.ternary_features(tokens, 96, dtype=torch.float32)
    torch.testing.assert_close(out, features @ weight.T)
    gradient = torch.randn_like(out)
    (found,) = torch.autograd.grad(out, weight, gradient)
    torch.testing.assert_close(found, gradient.T @ features)


def test_refusals() -> None:
    data, offsets = projection.join_tokens([b"a"])
    with pytest.raises(ValueError, match="char must be"):
        projection.hash_tokens(data, offsets, char="wide")
    with pytest.raises(ValueError, match="uint8"):
        projection.hash_tokens(data.int(), offsets)
    with pytest.raises(ValueError, match=r"\[1, 4096\]"):
        projection.ternary_features((data, offsets), 0)
    with pytest.raises(TypeError, match="int64"):
        projection.ternary_features((data, offsets), 8, dtype=torch.int64)
    with pytest.raises(TypeError, match="float64"):
        projection.ternary_features((data, offsets), 8, dtype=torch.float64)
    with pytest.raises(ValueError, match="fingerprints must be"):
        projection.packed_features(offsets, 8)


def test_no_tokens() -> None:
    tokens = projection.join_tokens([])
    assert projection.hash_tokens(*tokens).shape == (0, 2)
    assert projection.ternary_features(tokens, 40).shape == (0, 40)
