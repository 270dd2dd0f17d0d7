"""The head of a classifier that starts from a trained encoder: a linear model of its vectors.

Below a random head, the first steps would change the encoder for nothing ("linear probing, then
fine-tuning": Kumar et al., 2022); and of few rows there is little more to be learned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from .inputs import Inputs
from .learner import Learner

__all__ = ["fit_head", "logistic_regression"]

_STRENGTH = 10.0
_STEPS = 100
_ROWS = 50_000
_BATCH = 256


def logistic_regression(
    vectors: Tensor, gold: Tensor, labels: int, *, strength: float = _STRENGTH, steps: int = _STEPS
) -> tuple[Tensor, Tensor]:
    """Weights and bias that make the gold labels likely, by L-BFGS.

    Minimises the sum over rows of the cross entropy (of several labels: of the binary ones), plus
    the squared weights over twice the strength, which is scikit-learn's ``C``.

    Args:
        vectors: float64 ``[n, width]``.
        gold: int64 ``[n]``, or 0 and 1 ``[n, labels]`` for several labels a row.
        labels: how many there are.
        strength: the larger, the less the weights are held small; > 0.
        steps: of L-BFGS, at most.

    Returns:
        float64 ``[labels, width]`` and ``[labels]``.
    """
    weight = vectors.new_zeros(labels, vectors.shape[1], requires_grad=True)
    bias = vectors.new_zeros(labels, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=steps, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )
    several = gold.dim() == 2
    target = gold.to(vectors.dtype) if several else gold

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = vectors @ weight.T + bias
        if several:
            total = binary_cross_entropy_with_logits(logits, target, reduction="sum")
        else:
            total = cross_entropy(logits, target, reduction="sum")
        # A mean, so that the tolerance means the same for any number of rows.
        value: Tensor = (total + weight.square().sum() / (2 * strength)) / len(vectors)
        value.backward()
        return value

    optimizer.step(loss)
    return weight.detach(), bias.detach()


def fit_head(
    learner: Learner,
    texts: Sequence[str],
    gold: npt.NDArray[np.int64] | npt.NDArray[np.float32],
    embedding: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None,
) -> None:
    """Set a classifier's head to what logistic regression makes of its encoder as it is.

    Args:
        learner: of a classifier; its averaged model gets the same head.
        texts: the training rows' own; of more than 50,000 an even share is used.
        gold: their labels, see :class:`.rows.TrainingRows`.
        embedding: weight ``[dim, P]`` and bias ``[dim]`` from pooled vectors to sentence vectors,
            where the encoder has learned such; the regression is then over these.
    """
    every = slice(None, None, -(-len(texts) // _ROWS))
    texts, gold = texts[every], gold[every]
    model = learner.averaged.model
    vectors = _pooled(learner, texts)
    turn = torch.eye(vectors.shape[1], dtype=torch.float64)
    shift = vectors.new_zeros(len(turn))
    if embedding is not None:
        turn, shift = (torch.from_numpy(part).double() for part in embedding)
    vectors = vectors @ turn.T + shift
    size = vectors.norm(dim=1).mean().clamp_min(1e-12)  # one for all: the head stays linear
    labels = len(learner.config.labels)
    weight, bias = logistic_regression(vectors / size, torch.from_numpy(gold), labels)
    head = model.get_submodule("head")
    with torch.no_grad():
        head.get_parameter("weight").copy_(weight @ turn / size)
        head.get_parameter("bias").copy_(bias + weight @ shift / size)
    learner.averaged.average.load_state_dict(model.state_dict())


def _pooled(learner: Learner, texts: Sequence[str]) -> Tensor:
    """float64 ``[n, P]`` on the CPU, in the order of the texts."""
    order = np.argsort([len(text) for text in texts], kind="stable")
    encoder = learner.averaged.model.get_submodule("encoder").eval()
    parts: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, len(order), _BATCH):
            inputs = learner.featurizer([texts[row] for row in order[start : start + _BATCH]])
            inputs = inputs.to(learner.device)
            assert isinstance(inputs, Inputs)
            parts.append(encoder(inputs.features, inputs.offsets, inputs.index)[0].double().cpu())
    return torch.cat(parts)[torch.from_numpy(np.argsort(order))]
