"""Losses between what a student says and what a teacher says: vectors or distributions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize


def cosine_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of ``1 - cos(student, teacher)`` over rows.

    Args:
        student, teacher: ``[n, dim]``, any scale.

    Returns:
        A scalar in [0, 2].
    """
    return 1 - (normalize(student, dim=1) * normalize(teacher, dim=1)).sum(1).mean()


def relational_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the two in-batch cosine matrices, off the diagonal.

    It asks that pairs of sentences be as similar for the student as they are for the teacher,
    which is what a ranking by similarity is judged by.

    Args:
        student: ``[n, dim]``; teacher: ``[n, any width]``; n >= 2.
    """
    a, b = normalize(student, dim=1), normalize(teacher, dim=1)
    n = a.shape[0]
    difference = (a @ a.T - b @ b.T).fill_diagonal_(0.0)
    return difference.square().sum() / (n * (n - 1))


def soft_cross_entropy(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """Sum over rows of the cross entropy between a teacher's distribution and a student's.

    With temperature T both are softened: the teacher's shares are raised to 1 / T and divided by
    their sum, the student's logits are divided by T, and the loss is multiplied by T^2, so that its
    gradient keeps its size (Hinton, Vinyals and Dean, 2015).

    Args:
        logits: ``[n, classes]``.
        targets: ``[n, classes]`` shares that sum to 1 in each row, or a row of zeros, which counts
            nothing.
        temperature: > 0.
    """
    if temperature != 1.0:
        targets = targets ** (1 / temperature)
        targets = targets / targets.sum(1, keepdim=True).clamp_min(1e-12)
    shares = (logits / temperature).log_softmax(1)
    # Not minus infinity times zero, where a class is impossible for both.
    return -(targets * shares.clamp_min(-1e4)).sum() * temperature**2


def soft_binary_cross_entropy(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """Sum over entries of the binary cross entropy between a teacher's and a student's probability.

    The same for labels of which a text may have any number: each label with its absence is a
    distribution of two. Temperature is as for :func:`soft_cross_entropy`, a teacher's probability p
    becoming ``sigmoid(logit(p) / T)``.

    Args:
        logits: ``[n, labels]``.
        targets: ``[n, labels]`` probabilities.
        temperature: > 0.
    """
    if temperature != 1.0:
        targets = (targets.logit() / temperature).sigmoid()
    total = binary_cross_entropy_with_logits(logits / temperature, targets, reduction="sum")
    return total * temperature**2


def ranking_loss(student: Tensor, teacher: Tensor, temperature: float = 0.05) -> Tensor:
    """Cross entropy between the two in-batch neighbour distributions, less the teacher's entropy.

    Row i's distribution is the softmax over j != i of cos(i, j) / temperature: a KL divergence, so
    that near neighbours count more than the mass of unrelated pairs.

    Args:
        student: ``[n, dim]``; teacher: ``[n, any width]``; n >= 2.
        temperature: > 0.
    """
    a, b = normalize(student, dim=1), normalize(teacher, dim=1)
    off = ~torch.eye(a.shape[0], dtype=torch.bool, device=a.device)
    rows = a.shape[0]
    log_p = (b @ b.T / temperature)[off].view(rows, rows - 1).log_softmax(1)
    log_q = (a @ a.T / temperature)[off].view(rows, rows - 1).log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()
