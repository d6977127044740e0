"""PCKD's four losses and its preview weights against plain loops, their gradients, and their edges."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from mdistiller_icc.losses.direction import SHORTEST
from mdistiller_icc.losses.kd import kd_loss
from mdistiller_icc.losses.pckd import (
    category_contrastive_loss,
    center_alignment_loss,
    feature_alignment_loss,
)
from mdistiller_icc.losses.preview import preview_weights


def normal(rows: int, columns: int, seed: int) -> Tensor:
    return 2 * torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def length(vector: list[float]) -> float:
    """Of a vector; 1 where it is too short to be divided by."""
    held = math.hypot(*vector)
    return held if held >= SHORTEST else 1.0


def uniform(rows: int, seed: int) -> Tensor:
    return torch.rand(rows, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def contrast_by_hand(own: Tensor, others: Tensor, target: list[int], weight: Tensor, tau: float, base: float) -> float:
    r, label = own.tolist() + others.tolist(), 2 * target
    cost = []
    for i in range(len(r)):
        rivals = [k for k in range(len(r)) if k != i]
        positives = [j for j in rivals if label[j] == label[i]]
        scores = {k: dot(r[i], r[k]) / tau for k in rivals}
        top = max(scores.values())
        log_sum = top + math.log(sum(math.exp(score - top) for score in scores.values()))
        cost.append(-tau / base * sum(scores[j] - log_sum for j in positives) / len(positives))
    views = len(target)
    return sum(v * (cost[i] + cost[views + i]) for i, v in enumerate(weight.tolist())) / views


@given(st.data(), st.integers(1, 6), st.integers(1, 5), st.floats(0.5, 8.0))
def test_category_contrast_equals_the_loop(data, views: int, classes: int, tau: float) -> None:
    seed = data.draw(st.integers(0, 999))
    target = data.draw(st.lists(st.integers(0, 2), min_size=views, max_size=views))
    own, others, weight = normal(views, classes, seed), normal(views, classes, seed + 1), uniform(views, seed)
    loss = category_contrastive_loss(own, others, torch.tensor(target), weight, tau, 0.1)
    assert loss.item() == pytest.approx(contrast_by_hand(own, others, target, weight, tau, 0.1), abs=1e-9)


def test_category_contrast_on_paper() -> None:
    """Sums over a view's two vectors, means over the views; worked out by hand from the authors' formula."""

    def contrast(own: list[list[float]], others: list[list[float]], target: list[int], weight: list[float]) -> float:
        tensors = (torch.tensor(rows, dtype=torch.float64) for rows in (own, others))
        return category_contrastive_loss(*tensors, torch.tensor(target), torch.tensor(weight), 2.0, 0.5).item()

    # Vectors of zeros: each of the 2·4 shares log 7 over its rivals; times τ/τ₀ = 4; u and v added up.
    zeros = [[0.0]] * 4
    assert contrast(zeros, zeros, [0, 0, 1, 1], [1.0] * 4) == pytest.approx(2 * 4 * math.log(7))
    assert contrast(zeros, zeros, [0, 0, 1, 1], [1.0, 0.0, 0.0, 0.5]) == pytest.approx(2 * 4 * math.log(7) * 1.5 / 4)
    # u₁ = v₁ = (2, 0), u₂ = v₂ = (0, 2), a class each: the positive scores 4/τ = 2, the two rivals 0.
    apart = [[2.0, 0.0], [0.0, 2.0]]
    assert contrast(apart, apart, [0, 1], [1.0, 1.0]) == pytest.approx(2 * 4 * (math.log(math.e**2 + 2) - 2))
    # One view: each of its vectors has the other alone, which costs nothing.
    assert contrast([[3.0]], [[-5.0]], [0], [1.0]) == 0


@given(st.integers(1, 7), st.integers(2, 6), st.integers(0, 999), st.floats(0.5, 8.0))
def test_previewed_kd_equals_the_loop(batch: int, classes: int, seed: int, tau: float) -> None:
    student, teacher, weight = normal(batch, classes, seed), normal(batch, classes, seed + 1), uniform(batch, seed)
    each = [weight[i] * kd_loss(student[i : i + 1], teacher[i : i + 1], tau) for i in range(batch)]
    assert kd_loss(student, teacher, tau, weight).item() == pytest.approx(sum(each).item() / batch)


def test_previewed_kd_of_equal_weights_is_kd() -> None:
    student, teacher = normal(6, 5, 0), normal(6, 5, 1)
    torch.testing.assert_close(
        kd_loss(student, teacher, 4.0, torch.ones(6, dtype=torch.float64)), kd_loss(student, teacher, 4.0)
    )


@given(st.integers(1, 7), st.integers(1, 6), st.integers(0, 999))
@example(6, 1, 380)  # one of its numbers is 0.0007
def test_feature_alignment_equals_the_loop(count: int, dim: int, seed: int) -> None:
    a, b = normal(count, dim, seed), normal(count, dim, seed + 1)
    rows = zip(a.tolist(), b.tolist(), strict=True)
    cosines = [dot(x, y) / length(x) / length(y) for x, y in rows]
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


def test_preview_carries_the_gradient_of_hard_samples_alone() -> None:
    """γ₁ = 2·CE₁/(CE₀ + CE₁) = 1.5 at CE = (1, 3): dγ₁ is (−2·3, 2·1)/16, and dv₁ is −2γ₁·exp(−γ₁²)·dγ₁."""
    ce = torch.tensor([1.0, 3.0], requires_grad=True)
    weight = preview_weights(ce, ce.mean(), 1)
    assert weight[0] == 1 and weight[1].item() == pytest.approx(math.exp(-2.25))
    (gradient,) = torch.autograd.grad(weight.sum(), ce)
    slope = -2 * 1.5 * math.exp(-2.25)
    assert gradient.tolist() == pytest.approx([slope * -6 / 16, slope * 2 / 16])


@pytest.mark.parametrize("losses", [[0.0, 0.0], [0.0, 1e30], [1e-40, 3e-40]], ids=["solved", "hopeless", "tiny"])
def test_previews_gradient_is_finite(losses: list[float]) -> None:
    ce = torch.tensor(losses, requires_grad=True)
    preview_weights(ce, ce.mean(), 1).sum().backward()
    assert ce.grad.isfinite().all()


def test_gradients() -> None:
    target, weight = torch.tensor([0, 1, 0, 2, 1]), uniform(5, 3)
    other, preview = normal(5, 4, 1), uniform(5, 4).requires_grad_()

    def student() -> Tensor:
        return normal(5, 4, 0).requires_grad_()

    halves = student(), normal(5, 4, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda u, v: category_contrastive_loss(u, v, target, weight), halves)
    assert torch.autograd.gradcheck(lambda s, v: kd_loss(s, other, 4.0, v), (student(), preview))
    assert torch.autograd.gradcheck(lambda s: feature_alignment_loss(s, other), student())
    assert torch.autograd.gradcheck(lambda s: center_alignment_loss(s, other), student())


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = normal(5, 4, 0).requires_grad_(), normal(5, 4, 1).requires_grad_()
    for loss in (
        kd_loss(student, teacher, 4.0, uniform(5, 0)),
        feature_alignment_loss(student, teacher),
        center_alignment_loss(student, teacher),
    ):
        loss.backward()
        assert teacher.grad is None and student.grad.abs().sum() > 0
        student.grad = None


def test_the_contrasts_weight_gets_no_gradient() -> None:
    own, others, weight = normal(4, 3, 0).requires_grad_(), normal(4, 3, 1), uniform(4, 2).requires_grad_()
    category_contrastive_loss(own, others, torch.tensor([0, 1, 0, 2]), weight).backward()
    assert weight.grad is None and own.grad.abs().sum() > 0


def test_one_class_alone_is_finite() -> None:
    own = normal(3, 4, 0).requires_grad_()
    loss = category_contrastive_loss(own, normal(3, 4, 1), torch.zeros(3, dtype=torch.long), torch.ones(3))
    loss.backward()
    assert loss > 0 and own.grad.isfinite().all()


def test_a_projection_of_zero_gets_a_bounded_gradient() -> None:
    student = torch.zeros(3, 4, requires_grad=True)
    feature_alignment_loss(student, torch.randn(3, 4)).backward()
    assert 0 < student.grad.abs().max() < 10


def test_relations_of_zero_and_huge_ones_are_finite() -> None:
    for scale in (0, 1e4):
        own, others = (scale * normal(4, 3, seed).float() for seed in (0, 1))
        loss = category_contrastive_loss(own.requires_grad_(), others, torch.tensor([0, 0, 1, 2]), torch.ones(4))
        loss.backward()
        assert loss.isfinite() and own.grad.isfinite().all()


def test_order_of_views_and_of_halves_does_not_matter() -> None:
    own, others = normal(6, 4, 0), normal(6, 4, 2)
    weight, target = uniform(6, 1), torch.tensor([0, 1, 0, 2, 1, 0])
    order = torch.randperm(6)
    expected = category_contrastive_loss(own, others, target, weight)
    shuffled = (tensor[order] for tensor in (own, others, target, weight))
    torch.testing.assert_close(category_contrastive_loss(*shuffled), expected)
    torch.testing.assert_close(category_contrastive_loss(others, own, target, weight), expected)


def test_half_precision_computes_in_float32_even_under_autocast() -> None:
    target, weight = torch.tensor([0, 1, 0, 2, 1, 0]), uniform(6, 1)
    a, b = normal(6, 4, 0), normal(6, 4, 1)
    for loss in (
        lambda s, t: category_contrastive_loss(s, t, target, weight),
        lambda s, t: kd_loss(s, t, 4.0, weight),
        feature_alignment_loss,
        center_alignment_loss,
    ):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = loss(a.bfloat16(), b.bfloat16())
        torch.testing.assert_close(half, loss(a.bfloat16().float(), b.bfloat16().float()))
        torch.testing.assert_close(half.double(), loss(a, b), rtol=0.02, atol=0.02)
