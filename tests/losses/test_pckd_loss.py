"""PCKD's four losses and its preview weights against plain loops, their gradients, and their edges."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mdistiller_icc.losses.kd import kd_loss
from mdistiller_icc.losses.pckd import (
    category_contrastive_loss,
    center_alignment_loss,
    feature_alignment_loss,
    previewed_kd_loss,
)
from mdistiller_icc.losses.preview import preview_weights


def normal(rows: int, columns: int, seed: int) -> Tensor:
    return 2 * torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def uniform(rows: int, seed: int) -> Tensor:
    return torch.rand(rows, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def contrast_by_hand(relation: Tensor, target: list[int], weight: Tensor, tau: float, base: float) -> float:
    r, v = relation.tolist(), weight.tolist()
    total = 0.0
    for i in range(len(r)):
        rivals = [k for k in range(len(r)) if k != i]
        positives = [j for j in rivals if target[j] == target[i]]
        if positives:
            scores = {k: dot(r[i], r[k]) / tau for k in rivals}
            top = max(scores.values())
            log_sum = top + math.log(sum(math.exp(score - top) for score in scores.values()))
            total -= v[i] * sum(scores[j] - log_sum for j in positives) / len(positives)
    return tau / base * total / len(r)


@given(st.data(), st.integers(1, 8), st.integers(1, 5), st.floats(0.5, 8.0))
def test_category_contrast_equals_the_loop(data, count: int, classes: int, tau: float) -> None:
    seed = data.draw(st.integers(0, 999))
    target = data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    relation, weight = normal(count, classes, seed), uniform(count, seed)
    loss = category_contrastive_loss(relation, torch.tensor(target), weight, tau, 0.1)
    assert loss.item() == pytest.approx(contrast_by_hand(relation, target, weight, tau, 0.1), abs=1e-9)


@given(st.integers(1, 7), st.integers(2, 6), st.integers(0, 999), st.floats(0.5, 8.0))
def test_previewed_kd_equals_the_loop(batch: int, classes: int, seed: int, tau: float) -> None:
    student, teacher, weight = normal(batch, classes, seed), normal(batch, classes, seed + 1), uniform(batch, seed)
    each = [weight[i] * kd_loss(student[i : i + 1], teacher[i : i + 1], tau) for i in range(batch)]
    assert previewed_kd_loss(student, teacher, weight, tau).item() == pytest.approx(sum(each).item() / batch)


def test_previewed_kd_of_equal_weights_is_kd() -> None:
    student, teacher = normal(6, 5, 0), normal(6, 5, 1)
    torch.testing.assert_close(
        previewed_kd_loss(student, teacher, torch.ones(6, dtype=torch.float64), 4.0), kd_loss(student, teacher, 4.0)
    )


@given(st.integers(1, 7), st.integers(1, 6), st.integers(0, 999))
def test_feature_alignment_equals_the_loop(count: int, dim: int, seed: int) -> None:
    a, b = normal(count, dim, seed), normal(count, dim, seed + 1)
    rows = zip(a.tolist(), b.tolist(), strict=True)
    cosines = [dot(x, y) / math.hypot(*x) / math.hypot(*y) for x, y in rows]
    assert feature_alignment_loss(a, b).item() == pytest.approx(2 - 2 * sum(cosines) / count, abs=1e-12)


@given(st.integers(1, 7), st.integers(1, 6), st.integers(0, 999))
def test_center_alignment_equals_the_loop(classes: int, dim: int, seed: int) -> None:
    a, b = normal(classes, dim, seed), normal(classes, dim, seed + 1)
    squares = [(x - y) ** 2 for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)]
    assert center_alignment_loss(a, b).item() == pytest.approx(sum(squares) / len(squares))


def test_center_alignment_is_zero_where_shapes_differ() -> None:
    assert center_alignment_loss(normal(5, 8, 0).requires_grad_(), normal(5, 9, 1)).item() == 0


@given(st.lists(st.floats(0, 50), min_size=1, max_size=9), st.integers(1, 300))
def test_preview_equals_the_loop(losses: list[float], epoch: int) -> None:
    ce = torch.tensor(losses, dtype=torch.float64)
    mean = sum(losses) / len(losses)
    threshold = 1.005**epoch
    expected = []
    for loss in losses:
        difficulty = loss / mean if mean >= 1e-300 else 0.0
        expected.append(1.0 if difficulty <= threshold else math.exp(-(difficulty**2)))
    if all(abs(loss / mean - threshold) > 1e-9 for loss in losses if mean >= 1e-300):
        assert preview_weights(ce, ce.mean(), epoch).tolist() == pytest.approx(expected)


def test_preview_lets_in_harder_samples_as_epochs_pass() -> None:
    ce = torch.tensor([1.0, 1.0, 1.0, 3.0])
    early, late = (preview_weights(ce, ce.mean(), epoch) for epoch in (1, 140))
    assert early[:3].tolist() == [1, 1, 1] and early[3] == pytest.approx(math.exp(-4))
    assert late.tolist() == [1, 1, 1, 1]


def test_preview_of_a_solved_batch_is_one() -> None:
    assert preview_weights(torch.zeros(3), torch.zeros(()), 1).tolist() == [1, 1, 1]


def test_preview_carries_no_gradient() -> None:
    ce = torch.tensor([0.1, 4.0], requires_grad=True)
    assert not preview_weights(ce, ce.mean(), 1).requires_grad


def test_gradients() -> None:
    target, weight = torch.tensor([0, 1, 0, 2, 1]), uniform(5, 3)
    other = normal(5, 4, 1)

    def student() -> Tensor:
        return normal(5, 4, 0).requires_grad_()

    assert torch.autograd.gradcheck(lambda r: category_contrastive_loss(r, target, weight), student())
    assert torch.autograd.gradcheck(lambda s: previewed_kd_loss(s, other, weight, 4.0), student())
    assert torch.autograd.gradcheck(lambda s: feature_alignment_loss(s, other), student())
    assert torch.autograd.gradcheck(lambda s: center_alignment_loss(s, other), student())


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = normal(5, 4, 0).requires_grad_(), normal(5, 4, 1).requires_grad_()
    for loss in (
        previewed_kd_loss(student, teacher, uniform(5, 0), 4.0),
        feature_alignment_loss(student, teacher),
        center_alignment_loss(student, teacher),
    ):
        loss.backward()
        assert teacher.grad is None and student.grad.abs().sum() > 0
        student.grad = None


@pytest.mark.parametrize("target", [[0], [0, 1, 2]], ids=["one vector", "no two of a class"])
def test_vectors_without_a_positive_cost_nothing(target: list[int]) -> None:
    relation = normal(len(target), 4, 0).requires_grad_()
    loss = category_contrastive_loss(relation, torch.tensor(target), torch.ones(len(target)))
    loss.backward()
    assert loss.item() == 0 and torch.count_nonzero(relation.grad) == 0


def test_one_class_alone_is_finite() -> None:
    relation = normal(6, 4, 0).requires_grad_()
    loss = category_contrastive_loss(relation, torch.zeros(6, dtype=torch.long), torch.ones(6))
    loss.backward()
    assert loss > 0 and relation.grad.isfinite().all()


def test_relations_of_zero_and_huge_ones_are_finite() -> None:
    target = torch.tensor([0, 0, 1, 1])
    for relation in (torch.zeros(4, 3), 1e4 * torch.randn(4, 3)):
        relation.requires_grad_()
        loss = category_contrastive_loss(relation, target, torch.ones(4))
        loss.backward()
        assert loss.isfinite() and relation.grad.isfinite().all()


def test_order_of_vectors_does_not_matter() -> None:
    relation, weight, target = normal(6, 4, 0), uniform(6, 1), torch.tensor([0, 1, 0, 2, 1, 0])
    order = torch.randperm(6)
    torch.testing.assert_close(
        category_contrastive_loss(relation[order], target[order], weight[order]),
        category_contrastive_loss(relation, target, weight),
    )


def test_half_precision_computes_in_float32_even_under_autocast() -> None:
    target, weight = torch.tensor([0, 1, 0, 2, 1, 0]), uniform(6, 1)
    a, b = normal(6, 4, 0), normal(6, 4, 1)
    for loss in (
        lambda s, t: category_contrastive_loss(s, target, weight),
        lambda s, t: previewed_kd_loss(s, t, weight, 4.0),
        feature_alignment_loss,
        center_alignment_loss,
    ):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = loss(a.bfloat16(), b.bfloat16())
        torch.testing.assert_close(half, loss(a.bfloat16().float(), b.bfloat16().float()))
        torch.testing.assert_close(half.double(), loss(a, b), rtol=0.02, atol=0.02)
