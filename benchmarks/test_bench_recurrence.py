"""The scan h[t] = f[t] * h[t-1] + x[t], against adding two arrays, which is all memory allows.

An addition moves 3 N floats. So does the scan forward (f, x, h); backward moves 5 N (the gradient
of h, f, h, and the gradients of f and x), hence 8 N for both.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from pqrnn_native import _core

SHAPES = [(64, 128, 512), (8, 2048, 512)]
HAS_TORCH = importlib.util.find_spec("torch") is not None


def _aligned(shape: tuple[int, ...], value: np.ndarray | None = None) -> np.ndarray:
    """Touched memory at a multiple of a cache line, as torch has it."""
    size = int(np.prod(shape)) * 4
    block = np.zeros(size + 64, np.uint8)
    start = -block.ctypes.data % 64
    array = block[start : start + size].view(np.float32).reshape(shape)
    if value is not None:
        array[...] = value
    return array


class Scan:
    """Inputs and outputs, both passes, and the addition to compare with."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        rng = np.random.default_rng(3)
        self.shape = shape
        self.f = _aligned(shape, rng.random(shape, np.float32))
        self.x = _aligned(shape, rng.standard_normal(shape, np.float32))
        self.gh = _aligned(shape, rng.standard_normal(shape, np.float32))
        self.h, self.gf, self.gx = _aligned(shape), _aligned(shape), _aligned(shape)
        self.common = {
            "sequences": (shape[0], shape[1], shape[0], 0, 0),
            "width": shape[2],
            "element": 0,
            "reverse": False,
            "threads": 1,
            "h0": 0,
        }

    def view(self, name: str) -> tuple[int, int, int]:
        _, steps, width = self.shape
        return getattr(self, name).ctypes.data, steps * width, width

    def forward(self) -> None:
        views = {name: self.view(name) for name in ("f", "x", "h")}
        _core.scan_forward(**self.common, **views)

    def both(self) -> None:
        self.forward()
        views = {name: self.view(name) for name in ("gh", "f", "h", "gf", "gx")}
        _core.scan_backward(**self.common, **views, gh0=0)

    def addition(self) -> tuple[str, object]:
        if not HAS_TORCH:
            return "np.add(a, b, out=c)", lambda: np.add(self.f, self.x, out=self.gx)
        import torch

        a, b, c = (torch.from_numpy(array) for array in (self.f, self.x, self.gx))
        return "torch.add(a, b, out=c)", lambda: torch.add(a, b, out=c)

    def check(self, *, backward: bool) -> None:
        """Sampled channels against the textbook loop in double precision."""
        n, c = self.shape[0] - 1, slice(None, None, 61)
        f, x, gh = (array[n, :, c].astype(float) for array in (self.f, self.x, self.gh))
        h = np.zeros_like(x)
        for t in range(len(x)):
            h[t] = f[t] * h[t - 1] + x[t] if t else x[0]
        np.testing.assert_allclose(self.h[n, :, c], h, rtol=1e-5, atol=1e-5)
        if not backward:
            return
        gx, gf, carry = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x[0])
        for t in reversed(range(len(x))):
            gx[t] = carry = gh[t] + carry
            gf[t] = carry * h[t - 1] if t else 0
            carry = carry * f[t]
        np.testing.assert_allclose(self.gx[n, :, c], gx, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(self.gf[n, :, c], gf, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def scan(request):
    return Scan(request.param)


@pytest.mark.benchmark(group="scan, kernel alone")
def test_scan_forward(benchmark, compare, scan):
    scan.forward()
    scan.check(backward=False)
    label, add = scan.addition()
    compare(scan.forward, {label: add}, rounds=30, target={label: 0.85})
    benchmark.extra_info["GB/s"] = round(scan.f.nbytes * 3 / benchmark.stats.stats.min / 1e9, 2)


@pytest.mark.benchmark(group="scan, kernel alone")
def test_scan_forward_backward(benchmark, compare, scan):
    scan.both()
    scan.check(backward=True)
    label, add = scan.addition()
    label = f"{label}, 8/3 times"
    compare(scan.both, {label: add}, rounds=20, work={label: 8 / 3}, target={label: 0.7})
    benchmark.extra_info["GB/s"] = round(scan.f.nbytes * 8 / benchmark.stats.stats.min / 1e9, 2)


@pytest.mark.benchmark(group="scan, as a torch operator")
@pytest.mark.parametrize("gradients", [False, True], ids=["forward", "forward+backward"])
def test_scan_operator(benchmark, compare, scan, gradients):
    torch = pytest.importorskip("torch")
    from pqrnn_native.nn.functional import forget_mult

    f, x, gh = (torch.from_numpy(array) for array in (scan.f, scan.x, scan.gh))
    f, x = f.detach().requires_grad_(gradients), x.detach().requires_grad_(gradients)

    def ours():
        h = forget_mult(f, x)
        if gradients:
            torch.autograd.grad(h, (f, x), gh)
        return h

    def loop():  # what one writes without a kernel
        state, steps = torch.zeros_like(x[:, 0]), []
        for f_t, x_t in zip(f.unbind(1), x.unbind(1), strict=True):
            state = torch.addcmul(x_t, f_t, state)
            steps.append(state)
        h = torch.stack(steps, 1)
        if gradients:
            torch.autograd.grad(h, (f, x), gh)
        return h

    torch.testing.assert_close(ours(), loop(), rtol=1e-4, atol=1e-4)
    compare(ours, {"torch, a loop of addcmul": loop}, rounds=5)
