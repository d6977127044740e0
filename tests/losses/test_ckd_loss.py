"""CKD's loss against plain loops, its gradient, and its edges."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mdistiller_icc.losses.ckd import ckd_loss


def logits(batch: int, classes: int, seed: int) -> Tensor:
    return 3 * torch.randn(batch, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_hand(student: Tensor, teacher: Tensor, temperature: float) -> float:
    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    total = 0.0
    for i, anchor in enumerate(teacher.tolist()):
        scores = [math.exp(cosine(anchor, row) / temperature) for row in student.tolist()]
        total -= math.log(scores[i] / sum(scores))
    return total / len(student)


@given(st.integers(1, 7), st.integers(2, 9), st.integers(0, 999), st.floats(0.05, 5.0))
def test_equals_the_loop(batch: int, classes: int, seed: int, temperature: float) -> None:
    student, teacher = logits(batch, classes, seed), logits(batch, classes, seed + 1)
    assert ckd_loss(student, teacher, temperature).item() == pytest.approx(by_hand(student, teacher, temperature))


def test_the_teacher_is_the_anchor() -> None:
    student, teacher = logits(5, 4, 0), logits(5, 4, 1)
    assert ckd_loss(student, teacher) != pytest.approx(ckd_loss(teacher, student).item())


def test_only_the_direction_of_logits_counts() -> None:
    student, teacher = logits(5, 4, 0), logits(5, 4, 1)
    torch.testing.assert_close(ckd_loss(7 * student, 0.3 * teacher), ckd_loss(student, teacher))


def test_gradient() -> None:
    teacher = logits(4, 5, 1)
    assert torch.autograd.gradcheck(lambda s: ckd_loss(s, teacher, 2.0), logits(4, 5, 0).requires_grad_())


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = logits(4, 5, 0).requires_grad_(), logits(4, 5, 1).requires_grad_()
    ckd_loss(student, teacher).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_a_batch_of_one_has_nothing_to_learn() -> None:
    student = logits(1, 5, 0).requires_grad_()
    loss = ckd_loss(student, logits(1, 5, 1))
    loss.backward()
    assert loss.item() == 0 and torch.count_nonzero(student.grad) == 0


def test_logits_of_zero_are_finite() -> None:
    student = torch.zeros(3, 5, requires_grad=True)
    loss = ckd_loss(student, torch.zeros(3, 5))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(3)) and student.grad.isfinite().all()
    ckd_loss(student, logits(3, 5, 1).float()).backward()
    assert 0 < student.grad.abs().max() < 10


def test_order_of_samples_and_of_classes_does_not_matter() -> None:
    student, teacher = logits(6, 5, 0), logits(6, 5, 1)
    rows, columns = torch.randperm(6), torch.randperm(5)
    expected = ckd_loss(student, teacher)
    torch.testing.assert_close(ckd_loss(student[rows], teacher[rows]), expected)
    torch.testing.assert_close(ckd_loss(student[:, columns], teacher[:, columns]), expected)


def test_half_precision_computes_in_float32_even_under_autocast() -> None:
    student, teacher = logits(16, 10, 0).bfloat16(), logits(16, 10, 1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ckd_loss(student, teacher, 0.1)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, ckd_loss(student.float(), teacher.float(), 0.1))
    torch.testing.assert_close(loss.double(), ckd_loss(logits(16, 10, 0), logits(16, 10, 1), 0.1), rtol=0.02, atol=0)
