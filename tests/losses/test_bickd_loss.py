"""BicKD's two losses against plain loops, their gradients, and their guarded columns."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mdistiller_icc.losses.bickd import class_contrastive_loss, sample_contrastive_loss

TARGET = torch.tensor([0, 0, 3, 2, 3])
LOSSES = {
    "rows": lambda s, t, **kw: sample_contrastive_loss(s, t, TARGET, **kw),
    "columns": class_contrastive_loss,
}
Loss = Callable[..., Tensor]


@pytest.fixture(params=LOSSES)
def loss(request: pytest.FixtureRequest) -> Loss:
    return LOSSES[request.param]


def logits(batch: int, classes: int, seed: int) -> Tensor:
    return 3 * torch.randn(batch, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def softened(rows: Tensor, temperature: float) -> list[list[float]]:
    powers = [[math.exp(x / temperature) for x in row] for row in rows.tolist()]
    return [[p / sum(row) for p in row] for row in powers]


def cosine(a: list[float], b: list[float]) -> float:
    lengths = (max(math.hypot(*x), 1e-12) for x in (a, b))  # what is shorter counts as nothing
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.prod(lengths)


def rows_by_hand(student: Tensor, teacher: Tensor, target: list[int], tau: float, pull: float, push: float) -> float:
    s, t = softened(student, tau), softened(teacher, tau)
    batch = range(len(s))
    pulled = [1 - cosine(s[i], t[i]) for i in batch]
    pushed = [cosine(s[i], t[j]) for i in batch for j in batch if target[i] != target[j]]
    return pull * sum(pulled) / len(pulled) + (push * sum(pushed) / len(pushed) if pushed else 0)


def columns_by_hand(student: Tensor, teacher: Tensor, tau: float, pull: float, push: float) -> float:
    s, t = [list(zip(*softened(x, tau), strict=True)) for x in (student, teacher)]
    classes = range(len(s))
    pulled = [sum(abs(a - b) for a, b in zip(s[c], t[c], strict=True)) for c in classes]
    pushed = [cosine(s[c], t[d]) for c in classes for d in classes if c != d]
    return pull * sum(pulled) / len(pulled) + push * sum(pushed) / len(pushed)


@given(st.data(), st.integers(1, 7), st.integers(2, 6), st.floats(0.5, 8.0), st.floats(0, 3), st.floats(0, 3))
def test_rows_equal_the_loop(data, batch: int, classes: int, tau: float, pull: float, push: float) -> None:
    seed = data.draw(st.integers(0, 999))
    target = data.draw(st.lists(st.integers(0, classes - 1), min_size=batch, max_size=batch))
    student, teacher = logits(batch, classes, seed), logits(batch, classes, seed + 1)
    loss = sample_contrastive_loss(student, teacher, torch.tensor(target), tau, pull, push)
    assert loss.item() == pytest.approx(rows_by_hand(student, teacher, target, tau, pull, push), abs=1e-12)


@given(st.integers(1, 7), st.integers(2, 6), st.integers(0, 999), st.floats(0.5, 8.0), st.floats(0, 3), st.floats(0, 3))
def test_columns_equal_the_loop(batch: int, classes: int, seed: int, tau: float, pull: float, push: float) -> None:
    student, teacher = logits(batch, classes, seed), logits(batch, classes, seed + 1)
    loss = class_contrastive_loss(student, teacher, tau, pull, push)
    assert loss.item() == pytest.approx(columns_by_hand(student, teacher, tau, pull, push), abs=1e-12)


def test_gradient(loss: Loss) -> None:
    teacher = logits(5, 4, 1)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), logits(5, 4, 0).requires_grad_())


def test_the_teacher_gets_no_gradient(loss: Loss) -> None:
    student, teacher = logits(5, 4, 0).requires_grad_(), logits(5, 4, 1).requires_grad_()
    loss(student, teacher).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_one_class_in_the_batch_leaves_nothing_to_push() -> None:
    student = logits(4, 5, 0).requires_grad_()
    loss = sample_contrastive_loss(student, logits(4, 5, 1), torch.full((4,), 2), pull_weight=0.0)
    loss.backward()
    assert loss.item() == 0 and torch.count_nonzero(student.grad) == 0


def test_a_batch_of_one_is_only_pulled_by_rows() -> None:
    student, teacher = logits(1, 4, 0).requires_grad_(), logits(1, 4, 1)
    rows = sample_contrastive_loss(student, teacher, torch.tensor([1]))
    (rows + class_contrastive_loss(student, teacher)).backward()
    assert rows.item() == pytest.approx(rows_by_hand(student, teacher, [1], 4.0, 1.0, 0.0))
    assert student.grad.isfinite().all()


def test_a_single_class_has_no_columns_to_push() -> None:
    assert class_contrastive_loss(torch.randn(3, 1), torch.randn(3, 1)).item() == 0


@pytest.mark.parametrize("depth", [60.0, 150.0, 1e4])
def test_columns_that_underflow_stay_finite_and_orthogonal(depth: float) -> None:
    """In float32 e^−60 squared is zero in a norm, and e^−150 is zero itself."""
    student = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    student[:, 3] = -depth
    student.requires_grad_()
    teacher = student.detach().clone()
    loss = class_contrastive_loss(student, teacher, temperature=1.0)
    loss.backward()
    three = class_contrastive_loss(student[:, :3].detach(), teacher[:, :3], temperature=1.0)
    assert student.grad.isfinite().all() and student.grad.abs().max() < 10
    if depth > 100:
        torch.testing.assert_close(loss.detach(), three * (3 * 2) / (4 * 3))


def test_order_of_samples_and_of_classes_does_not_matter() -> None:
    student, teacher = logits(5, 4, 0), logits(5, 4, 1)
    rows, columns = torch.randperm(5), torch.randperm(4)
    torch.testing.assert_close(
        sample_contrastive_loss(student[rows], teacher[rows], TARGET[rows]),
        sample_contrastive_loss(student, teacher, TARGET),
    )
    for permuted in (lambda x: x[rows], lambda x: x[:, columns]):
        torch.testing.assert_close(
            class_contrastive_loss(permuted(student), permuted(teacher)), class_contrastive_loss(student, teacher)
        )


def test_equal_and_certain_predictions_cost_nothing() -> None:
    certain = 50 * torch.eye(4, dtype=torch.float64)
    assert sample_contrastive_loss(certain, certain, torch.arange(4), 1.0).item() == pytest.approx(0, abs=1e-9)
    assert class_contrastive_loss(certain, certain, 1.0).item() == pytest.approx(0, abs=1e-9)


def test_half_precision_computes_in_float32_even_under_autocast(loss: Loss) -> None:
    student, teacher = logits(5, 4, 0).bfloat16(), logits(5, 4, 1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = loss(student, teacher)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss(student.float(), teacher.float()))
    torch.testing.assert_close(half.double(), loss(logits(5, 4, 0), logits(5, 4, 1)), rtol=0.02, atol=0)
