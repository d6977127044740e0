"""The soft-label cross-entropy of ICCKD against plain loops, its gradient, and its kinship with KD."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mdistiller_icc.losses.icckd import soft_cross_entropy
from mdistiller_icc.losses.kd import kd_loss


def logits(batch: int, classes: int, seed: int) -> Tensor:
    return 3 * torch.randn(batch, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_hand(student: Tensor, teacher: Tensor, temperature: float) -> float:
    def softened(row: list[float]) -> list[float]:
        powers = [math.exp(x / temperature) for x in row]
        return [p / sum(powers) for p in powers]

    total = 0.0
    for row_s, row_t in zip(student.tolist(), teacher.tolist(), strict=True):
        total -= sum(t * math.log(s) for s, t in zip(softened(row_s), softened(row_t), strict=True))
    return total / len(student) * temperature**2


@given(st.integers(1, 7), st.integers(2, 9), st.integers(0, 999), st.floats(0.5, 8.0))
def test_equals_the_loop(batch: int, classes: int, seed: int, temperature: float) -> None:
    student, teacher = logits(batch, classes, seed), logits(batch, classes, seed + 1)
    loss = soft_cross_entropy(student, teacher, temperature)
    assert loss.item() == pytest.approx(by_hand(student, teacher, temperature))


def test_gradient() -> None:
    teacher = logits(4, 5, 1)
    assert torch.autograd.gradcheck(lambda s: soft_cross_entropy(s, teacher, 4.0), logits(4, 5, 0).requires_grad_())


def test_gradient_is_that_of_kd() -> None:
    student, teacher = logits(4, 5, 0).requires_grad_(), logits(4, 5, 1)
    soft, hinton = (torch.autograd.grad(f(student, teacher, 4.0), student) for f in (soft_cross_entropy, kd_loss))
    torch.testing.assert_close(soft, hinton)


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = logits(4, 5, 0).requires_grad_(), logits(4, 5, 1).requires_grad_()
    soft_cross_entropy(student, teacher, 4.0).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_extreme_logits_stay_finite() -> None:
    student = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = soft_cross_entropy(student, torch.tensor([[-1e4, 1e4, 0.0]]), 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(2e4) and student.grad.isfinite().all()


def test_order_of_samples_and_of_classes_does_not_matter() -> None:
    student, teacher = logits(6, 5, 0), logits(6, 5, 1)
    rows, columns = torch.randperm(6), torch.randperm(5)
    expected = soft_cross_entropy(student, teacher, 4.0)
    torch.testing.assert_close(soft_cross_entropy(student[rows], teacher[rows], 4.0), expected)
    torch.testing.assert_close(soft_cross_entropy(student[:, columns], teacher[:, columns], 4.0), expected)


def test_half_precision_computes_in_float32_even_under_autocast() -> None:
    student, teacher = logits(16, 10, 0).bfloat16(), logits(16, 10, 1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = soft_cross_entropy(student, teacher, 4.0)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, soft_cross_entropy(student.float(), teacher.float(), 4.0))
    expected = soft_cross_entropy(logits(16, 10, 0), logits(16, 10, 1), 4.0)
    torch.testing.assert_close(loss.double(), expected, rtol=0.02, atol=0)
