"""A linear-chain conditional random field over tags: its loss, and its marginals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..tags import TagSet
from .rows import IGNORED


def crf_loss(
    logits: Tensor,
    offsets: Tensor,
    tags: Tensor,
    transitions: Tensor,
    allowed: Tensor,
    starts: Tensor,
) -> Tensor:
    """Sum over texts of the negative log likelihood of their gold sequences of tags.

    A sequence scores the sum of its logits and of the transitions between its neighbours. Its
    likelihood is its share of ``exp(score)`` among all valid sequences. A gold sequence that is not
    valid counts as the one exception of its text, so that no loss is infinite or negative.

    Tokens whose tag is :data:`.rows.IGNORED` are left out, as if they were not there.

    Args:
        logits: ``[tokens, S]``, texts one after the other; computed with in at least float32.
        offsets: int64 ``[n + 1]``, where each text begins, and the end.
        tags: int64 ``[tokens]``, the gold ones.
        transitions: ``[S, S]``, from (row) to (column).
        allowed: bool ``[S, S]``: which tag (row) may be followed by which. None may be a dead end.
        starts: bool ``[S]``: which may be a text's first.

    Returns:
        A scalar with gradients by ``logits`` and ``transitions`` (not to be differentiated again).
    """
    rows = (tags != IGNORED).nonzero()[:, 0]
    texts = torch.repeat_interleave(offsets.diff(), output_size=len(tags))[rows]
    lengths = torch.bincount(texts, minlength=len(offsets) - 1)
    kind = torch.promote_types(logits.dtype, torch.float32)
    with torch.autocast(logits.device.type, enabled=False):
        out: Tensor = _Loss.apply(
            logits.to(kind), rows, lengths, tags, transitions.to(kind), allowed, starts
        )
    return out


def crf_marginals(
    logits: npt.NDArray[np.floating],
    offsets: npt.NDArray[np.int64],
    transitions: npt.NDArray[np.floating],
    tags: TagSet,
) -> npt.NDArray[np.float64]:
    """Probability of each tag at each token, among all valid sequences of its text.

    Args:
        logits: ``[tokens, S]``, texts one after the other.
        offsets: ``[n + 1]``, where each text begins, and the end.
        transitions: ``[S, S]``, from (row) to (column).
        tags: which may follow which.

    Returns:
        float64 ``[tokens, S]``, computed in float64.
    """
    scores, moves = (torch.from_numpy(np.asarray(x, np.float64)) for x in (logits, transitions))
    chain = _Chain(torch.from_numpy(np.diff(offsets)))
    factors = moves.masked_fill(~torch.from_numpy(tags.allowed), -torch.inf)
    factors = (factors - factors.max()).exp()
    states, reached, _ = _forward(
        chain, scores[chain.order], factors, torch.from_numpy(tags.starts)
    )
    marginals, _ = _backward(chain, states, reached, factors)
    out: npt.NDArray[np.float64] = (
        torch.empty_like(marginals).index_copy_(0, chain.order, marginals).numpy()
    )
    return out


class _Loss(torch.autograd.Function):
    """The loss and, while it is at it, its gradient in closed form: marginals less gold.

    Tokens are worked on in order of their place in their text, the longest text first, so that the
    tokens of a step are neighbours in memory and nothing is padded.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        rows: Tensor,
        lengths: Tensor,
        tags: Tensor,
        transitions: Tensor,
        allowed: Tensor,
        starts: Tensor,
    ) -> Tensor:
        chain = _Chain(lengths)
        order = rows[chain.order]
        shape, logits, tags = logits.shape, logits[order], tags[order]
        valid_transitions = transitions.masked_fill(~allowed, -torch.inf)
        shift = valid_transitions.max()
        factors = (valid_transitions - shift).exp()
        states, reached, totals = _forward(chain, logits, factors, starts)
        totals += shift * (chain.lengths - 1)
        gold, counted, valid = _gold(chain, logits, tags, transitions, allowed, starts)
        # log(e^total + e^gold) - gold where the gold sequence is not among the total.
        excess = totals - gold
        losses = torch.where(valid, excess, torch.nn.functional.softplus(excess))
        if any(ctx.needs_input_grad):
            weights = torch.where(valid, 1.0, excess.sigmoid()).to(logits.dtype)[chain.texts, None]
            marginals, ratios = _backward(chain, states, reached, factors)
            ratios *= weights
            by_transitions = factors * (states[chain.before].T @ ratios[chain.after])
            by_transitions.view(-1).index_add_(0, counted, -weights[chain.after, 0])
            marginals.scatter_add_(1, tags[:, None], marginals.new_full((len(tags), 1), -1))
            marginals *= weights
            by_logits = marginals.new_zeros(shape).index_copy_(0, order, marginals)
            ctx.save_for_backward(by_logits, by_transitions)
        return losses.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        by_logits, by_transitions = ctx.saved_tensors
        return grad * by_logits, None, None, None, grad * by_transitions, None, None


class _Chain:
    """Where the tokens of ragged texts stand when they are sorted by their place in the text.

    Attributes:
        lengths: of the texts that have tokens, longest first.
        texts: ``[tokens]`` the text of each sorted token, counted in that order.
        order: ``[tokens]`` where each sorted token stands among the texts, one after the other.
        steps: begin and end of each place's tokens among the sorted ones.
        last: ``[n]`` the last token of each text.
        after, before: the tokens that are not their text's first, and their left neighbours.
    """

    def __init__(self, lengths: Tensor) -> None:
        begins = lengths.cumsum(0) - lengths
        self.lengths, numbers = lengths.sort(descending=True, stable=True)
        self.lengths = self.lengths[self.lengths > 0]
        begins = begins[numbers[: len(self.lengths)]]
        longest = int(self.lengths[0]) if len(self.lengths) else 0
        active = self.lengths > torch.arange(longest, device=lengths.device)[:, None]
        place, self.texts = active.nonzero(as_tuple=True)
        self.order = begins[self.texts] + place
        counts = active.sum(1)
        ends = counts.cumsum(0)
        step_begins = ends - counts
        self.steps = list(zip(step_begins.tolist(), ends.tolist(), strict=True))
        texts = torch.arange(len(self.lengths), device=lengths.device)
        self.last = step_begins[self.lengths - 1] + texts
        self.after = slice(len(self.lengths), None)
        self.before = step_begins[place[self.after] - 1] + self.texts[self.after]


def _forward(
    chain: _Chain, logits: Tensor, factors: Tensor, starts: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """States, what reaches each tag from the left, and the logarithm of the sum of each text.

    A state is ``exp(score)`` of all ways to a tag, scaled so that the largest of a token is 1.
    """
    states, reached = torch.empty_like(logits), torch.empty_like(logits)
    totals = logits.new_zeros(len(chain.lengths))
    before = states[:0]
    for step, (begin, end) in enumerate(chain.steps):
        row, state = reached[begin:end], states[begin:end]
        if step:
            torch.mm(before[: end - begin], factors, out=row)
        else:
            row.copy_(starts)
        torch.log(row, out=state)
        state += logits[begin:end]
        largest = state.amax(1, keepdim=True)
        state -= largest
        state.exp_()
        totals[: end - begin] += largest[:, 0]
        before = state
    return states, reached, totals + states[chain.last].sum(1).log()


def _backward(
    chain: _Chain, states: Tensor, reached: Tensor, factors: Tensor
) -> tuple[Tensor, Tensor]:
    """Marginals of each token's tags, and their ratios to what reached them.

    A pair's marginal is ``state * factor * ratio``; summed over the right one that gives the
    marginals of the left one. Nothing is larger than 1 on this way, so nothing overflows.
    """
    marginals, ratios = torch.empty_like(states), torch.empty_like(states)
    marginals[chain.last] = states[chain.last] / states[chain.last].sum(1, keepdim=True)
    # What nothing reaches has a marginal of 0, and 0 / 0 must be 0.
    reached.clamp_(min=torch.finfo(reached.dtype).tiny)
    backwards = factors.T.contiguous()
    for step in range(len(chain.steps) - 1, 0, -1):
        begin, end = chain.steps[step]
        first = chain.steps[step - 1][0]
        left = slice(first, first + end - begin)
        torch.div(marginals[begin:end], reached[begin:end], out=ratios[begin:end])
        torch.mm(ratios[begin:end], backwards, out=marginals[left])
        marginals[left] *= states[left]
    return marginals, ratios


def _gold(
    chain: _Chain,
    logits: Tensor,
    tags: Tensor,
    transitions: Tensor,
    allowed: Tensor,
    starts: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of the gold sequences, their pairs as flat indices, and which sequences are valid."""
    scores = logits.gather(1, tags[:, None])[:, 0]
    left, right = tags[chain.before], tags[chain.after]
    scores[chain.after] += transitions[left, right]
    wrong = torch.zeros_like(chain.lengths)
    wrong += ~starts[tags[: len(chain.lengths)]]
    wrong.index_add_(0, chain.texts[chain.after], (~allowed[left, right]).long())
    sums = scores.new_zeros(len(chain.lengths)).index_add_(0, chain.texts, scores)
    return sums, left * len(transitions) + right, wrong == 0
