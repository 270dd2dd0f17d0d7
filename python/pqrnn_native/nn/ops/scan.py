"""The linear scan ``h[t] = f[t] * h[t-1] + x[t]``, twice differentiable."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from ... import _core
from .layout import (
    ELEMENTS,
    Sequences,
    address_of,
    checked,
    checked_rows,
    checked_state,
    empty_rows,
    new_rows,
    threads_for,
    view_of,
)


@custom_op("pqrnn_native::forget_mult", mutates_args=(), device_types="cpu")
def forget_mult(
    f: Tensor,
    x: Tensor,
    h0: Tensor | None,
    offsets: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
) -> Tensor:
    """``h[t] = f[t] * h[t-1] + x[t]``; see :func:`pqrnn_native.nn.functional.forget_mult`."""
    f, x = checked(f), checked_rows("x", x, f)
    sequences = Sequences(f, offsets, lengths)
    width = f.shape[-1]
    h0 = checked_state("h0", h0, f, (sequences.count, width))
    h = new_rows(f, width)
    _core.scan_forward(
        sequences.arguments,
        width,
        ELEMENTS[f.dtype],
        reverse,
        threads_for(f),
        view_of(f),
        view_of(x),
        address_of(h0),
        view_of(h),
    )
    return h


@forget_mult.register_fake
def _(
    f: Tensor,
    x: Tensor,
    h0: Tensor | None,
    offsets: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
) -> Tensor:
    return empty_rows(f, f.shape[-1])


@custom_op("pqrnn_native::forget_mult_backward", mutates_args=(), device_types="cpu")
def forget_mult_backward(
    gh: Tensor,
    f: Tensor,
    h: Tensor,
    h0: Tensor | None,
    offsets: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of f, x and h0, from that of h."""
    f, h, gh = checked(f), checked(h), checked_rows("gh", gh, f)
    sequences = Sequences(f, offsets, lengths)
    width = f.shape[-1]
    h0 = checked_state("h0", h0, f, (sequences.count, width))
    gf, gx = new_rows(f, width), new_rows(f, width)
    gh0 = torch.empty(sequences.count, width, dtype=f.dtype)
    _core.scan_backward(
        sequences.arguments,
        width,
        ELEMENTS[f.dtype],
        reverse,
        threads_for(f),
        view_of(gh),
        view_of(f),
        view_of(h),
        address_of(h0),
        view_of(gf),
        view_of(gx),
        address_of(gh0),
    )
    return gf, gx, gh0


def sequence_count(rows: Tensor, offsets: Tensor | None) -> int:
    """Number of sequences in a batch or in ragged rows."""
    return rows.shape[0] if offsets is None else offsets.shape[0] - 1


@forget_mult_backward.register_fake
def _(
    gh: Tensor,
    f: Tensor,
    h: Tensor,
    h0: Tensor | None,
    offsets: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    width = f.shape[-1]
    gh0 = f.new_empty(sequence_count(f, offsets), width)
    return empty_rows(f, width), empty_rows(f, width), gh0


def _save_forget_mult(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    f, _, h0, offsets, lengths, ctx.reverse = inputs
    ctx.save_for_backward(f, output, h0, offsets, lengths)


def _forget_mult_gradients(ctx: Any, gh: Tensor) -> tuple[Any, ...]:
    f, h, h0, offsets, lengths = ctx.saved_tensors
    gf, gx, gh0 = forget_mult_backward(gh, f, h, h0, offsets, lengths, ctx.reverse)
    return gf, gx, gh0 if h0 is not None else None, None, None, None


forget_mult.register_autograd(_forget_mult_gradients, setup_context=_save_forget_mult)


def _before(h: Tensor, h0: Tensor, is_first: Tensor, reverse: bool) -> Tensor:
    """Row t holds the state that step t starts from."""
    time = h.dim() - 2
    shifted = torch.roll(h, -1 if reverse else 1, time)
    start = h0 if h.dim() == 2 else h0.unsqueeze(1).expand_as(h)
    return torch.where(is_first, start, shifted)


def _first_steps(
    f: Tensor, offsets: Tensor | None, lengths: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Masks [.., 1] of first and of valid steps, and for ragged rows the sequence of each."""
    if offsets is None:
        batch, time, _ = f.shape
        steps = torch.arange(time, device=f.device).unsqueeze(0)
        ends = (
            torch.full((batch, 1), time, device=f.device)
            if lengths is None
            else lengths.unsqueeze(1)
        )
        first = steps == (ends - 1 if reverse else 0)
        return first.unsqueeze(-1), (steps < ends).unsqueeze(-1), None
    rows = torch.arange(f.shape[0], device=f.device)
    owner = torch.searchsorted(offsets, rows, right=True) - 1
    edge = offsets[1:][owner] - 1 if reverse else offsets[:-1][owner]
    return (rows == edge).unsqueeze(-1), torch.ones_like(rows, dtype=torch.bool)[:, None], owner


def _save_forget_mult_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    _, f, h, h0, offsets, lengths, ctx.reverse = inputs
    ctx.save_for_backward(f, h, h0, offsets, lengths, output[1])


def _forget_mult_second_gradients(
    ctx: Any, ggf: Tensor, ggx: Tensor, ggh0: Tensor
) -> tuple[Any, ...]:
    # With g = gx: g[t] = gh[t] + f[t+1] g[t+1], gf[t] = g[t] h[t-1], gh0 = f[0] g[0]. The adjoint
    # a of g is the same scan run the other way: a[t] = f[t] a[t-1] + ggx[t] + ggf[t] h[t-1], with
    # a[-1] = ggh0. Everything below is differentiable, so derivatives of any order follow.
    f, h, h0, offsets, lengths, g = ctx.saved_tensors
    first, valid, owner = _first_steps(f, offsets, lengths, ctx.reverse)

    def per_row(state: Tensor) -> Tensor:
        return state if owner is None else state[owner]

    start = torch.zeros_like(ggh0) if h0 is None else h0
    source = torch.where(valid, ggx + ggf * _before(h, per_row(start), first, ctx.reverse), 0)
    a = forget_mult(f, source, ggh0, offsets, lengths, ctx.reverse)
    gf = torch.where(valid, _before(a, per_row(ggh0), first, ctx.reverse) * g, 0)
    through_state = torch.where(valid, ggf * g, 0)
    gh = torch.roll(torch.where(first, 0, through_state), 1 if ctx.reverse else -1, f.dim() - 2)
    if h0 is None:
        return a, gf, gh, None, None, None, None
    at_first = torch.where(first, through_state, 0)
    if owner is None:
        gh0 = at_first.sum(1)
    else:
        gh0 = torch.zeros_like(h0).index_add(0, owner, at_first)
    return a, gf, gh, gh0, None, None, None


forget_mult_backward.register_autograd(
    _forget_mult_second_gradients, setup_context=_save_forget_mult_backward
)
