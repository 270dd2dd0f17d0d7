"""Distillation losses against values worked out by hand or in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pqrnn_native.train needs torch")

from pqrnn_native.train import losses

STUDENT = [[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]]  # unit rows: (.6, .8), (0, 1), (1, 0)
TEACHER = [[1.0, 0.0], [0.0, 1.0], [0.0, 5.0]]


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    return (
        torch.tensor(STUDENT, dtype=torch.float64, requires_grad=True),
        torch.tensor(TEACHER, dtype=torch.float64),
    )


def test_cosine() -> None:
    student, teacher = tensors()  # cosines .6, 1, 0
    assert losses.cosine_loss(student, teacher).item() == pytest.approx(1 - 1.6 / 3)


def test_relational() -> None:
    student, teacher = tensors()
    # Off-diagonal cosines: student 12: .8, 13: .6, 23: 0; teacher 12: 0, 13: 0, 23: 1.
    expected = (0.8**2 + 0.6**2 + 1.0) * 2 / 6
    assert losses.relational_loss(student, teacher).item() == pytest.approx(expected)


def test_ranking() -> None:
    student, teacher = tensors()
    temperature = 0.5
    s = {(0, 1): 0.8, (0, 2): 0.6, (1, 2): 0.0}
    t = {(0, 1): 0.0, (0, 2): 0.0, (1, 2): 1.0}
    total = 0.0
    for row in range(3):
        others = [j for j in range(3) if j != row]
        q = np.exp([s[min(row, j), max(row, j)] / temperature for j in others])
        p = np.exp([t[min(row, j), max(row, j)] / temperature for j in others])
        p, q = p / p.sum(), q / q.sum()
        total += float((p * np.log(p / q)).sum())
    loss = losses.ranking_loss(student, teacher, temperature)
    assert loss.item() == pytest.approx(total / 3)


@pytest.mark.parametrize("name", ["cosine_loss", "relational_loss", "ranking_loss"])
def test_gradients_and_the_perfect_student(name: str) -> None:
    loss = getattr(losses, name)
    student, teacher = tensors()
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), (student,))
    assert loss(3 * teacher, teacher).item() == pytest.approx(0.0, abs=1e-12)
