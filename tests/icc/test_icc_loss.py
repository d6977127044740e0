"""The loss of ICC against Eq. (3) written out in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mdistiller_icc.losses.intra_class import (
    intra_class_gradient,
    intra_class_loss,
    known_gradient,
    through_unit,
    unit,
)


def reference(anchor, positive, negatives, valid, temperature):
    """Eq. (3) for every anchor, with Python's floats."""

    def dot(a, b):
        return math.fsum(x * y for x, y in zip(a, b, strict=True))

    losses = []
    for a, p, ns, vs in zip(anchor.tolist(), positive.tolist(), negatives.tolist(), valid.tolist(), strict=True):
        terms = [math.exp((dot(a, n) - dot(a, p)) / temperature) for n, v in zip(ns, vs, strict=True) if v]
        losses.append(math.log(1 + math.fsum(terms)))
    return losses


def draw(seed, anchors, size, dim, dtype=torch.float64):
    source = torch.Generator().manual_seed(seed)
    anchor, positive = (unit(torch.randn(anchors, dim, generator=source, dtype=dtype)) for _ in range(2))
    negatives = unit(torch.randn(anchors, size, dim, generator=source, dtype=dtype))
    valid = torch.rand(anchors, size, generator=source) < 0.7
    return anchor, positive, negatives, valid


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(0, 6), st.integers(1, 9), st.integers(1, 8), st.floats(0.05, 5.0))
def test_equals_the_equation(seed, anchors, size, dim, temperature):
    tensors = draw(seed, anchors, size, dim)
    loss = intra_class_loss(*tensors, temperature)
    assert loss.shape == (anchors,)
    torch.testing.assert_close(loss.tolist(), reference(*tensors, temperature), rtol=1e-12, atol=1e-12)


def test_gradient():
    anchor, positive, negatives, valid = draw(1, 4, 5, 3)
    inputs = [t.requires_grad_() for t in (anchor, positive, negatives)]
    assert torch.autograd.gradcheck(lambda a, p, n: intra_class_loss(a, p, n, valid, 0.5), inputs)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(0, 6), st.integers(1, 9), st.integers(1, 8), st.floats(0.05, 5.0))
def test_the_gradient_in_closed_form_is_the_one_walked_back(seed, anchors, size, dim, temperature):
    anchor, positive, negatives, valid = draw(seed, anchors, size, dim)
    inputs = [t.requires_grad_() for t in (anchor, positive)]
    loss = intra_class_loss(anchor, positive, negatives, valid, temperature)
    walked = loss.detach(), *torch.autograd.grad(loss.sum(), inputs)
    tensors = [t.detach() for t in (anchor, positive, negatives, valid)]
    closed = intra_class_gradient(*tensors, temperature)
    torch.testing.assert_close(closed, walked, rtol=1e-9, atol=1e-12)
    in_numpy = intra_class_gradient(*(t.numpy() for t in tensors), temperature)
    torch.testing.assert_close(tuple(map(torch.as_tensor, in_numpy)), walked, rtol=1e-9, atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 8), st.sampled_from([1.0, 1e-3, 1e-6, 0.0]))
def test_a_gradient_goes_through_unit_as_if_walked_back(seed, dim, scale):
    source = torch.Generator().manual_seed(seed)
    feature, gradient = torch.randn(2, 3, dim, generator=source, dtype=torch.float64)
    feature = (feature * scale).requires_grad_()
    (walked,) = torch.autograd.grad(unit(feature), feature, gradient)
    for arrays in ((gradient, feature.detach()), (gradient.numpy(), feature.detach().numpy())):
        torch.testing.assert_close(torch.as_tensor(through_unit(*arrays)), walked, rtol=1e-9, atol=1e-9)


def test_without_negatives_it_is_zero_and_has_no_gradient():
    anchor, positive, negatives, valid = draw(2, 3, 4, 5)
    anchor.requires_grad_()
    loss = intra_class_loss(anchor, positive, negatives, torch.zeros_like(valid))
    assert loss.tolist() == [0.0] * 3
    loss.sum().backward()
    assert anchor.grad.tolist() == torch.zeros_like(anchor).tolist()


def test_one_step_pushes_classmates_apart_and_pulls_views_together():
    source = torch.Generator().manual_seed(3)
    features = torch.randn(3, 8, generator=source, dtype=torch.float64).requires_grad_()  # anchor, view, classmate

    def similarities():
        f = unit(features)
        return (f[0] @ f[1]).item(), (f[0] @ f[2]).item()

    before = similarities()
    f = unit(features)
    intra_class_loss(f[:1], f[1:2], f[2:][None], torch.ones(1, 1, dtype=torch.bool)).sum().backward()
    with torch.no_grad():
        features -= 0.1 * features.grad
    view, classmate = similarities()
    assert view > before[0] and classmate < before[1]


def test_order_of_anchors_and_negatives_does_not_matter():
    anchor, positive, negatives, valid = draw(4, 5, 6, 4)
    rows, slots = torch.randperm(5), torch.randperm(6)
    loss = intra_class_loss(anchor, positive, negatives, valid)
    shuffled = intra_class_loss(anchor[rows], positive[rows], negatives[rows][:, slots], valid[rows][:, slots])
    torch.testing.assert_close(shuffled, loss[rows])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_compute_in_float32(dtype):
    anchor, positive, negatives, valid = draw(5, 6, 8, 16)
    loss = intra_class_loss(anchor.to(dtype), positive.to(dtype), negatives.to(dtype), valid)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), intra_class_loss(anchor, positive, negatives, valid), atol=2e-2, rtol=0)


def test_autocast_does_not_reach_the_similarities():
    anchor, positive, negatives, valid = (t.float() if t.is_floating_point() else t for t in draw(6, 6, 8, 16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = intra_class_loss(anchor, positive, negatives, valid)
    assert torch.equal(inside, intra_class_loss(anchor, positive, negatives, valid))


def test_zero_features_have_bounded_gradients():
    feature = torch.zeros(2, 4, requires_grad=True)
    negatives = unit(torch.randn(2, 3, 4))
    loss = intra_class_loss(unit(feature), unit(torch.randn(2, 4)), negatives, torch.ones(2, 3, dtype=torch.bool))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and feature.grad.abs().max() < 1e5


def test_unit_is_normalisation():
    feature = torch.randn(7, 5, dtype=torch.float64) * 100
    torch.testing.assert_close(unit(feature), F.normalize(feature, dim=1))
    torch.testing.assert_close(torch.from_numpy(unit(feature.numpy())), F.normalize(feature, dim=1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_autograd_goes_on_from_a_known_gradient(dtype):
    weight = torch.randn(5, 4, dtype=dtype).requires_grad_()
    image = torch.randn(3, 5, dtype=dtype)
    walked = torch.autograd.grad(2 * (image @ weight).square().sum(), weight)[0]
    feature = image @ weight
    loss = known_gradient(feature, feature.detach().square().sum(), 2 * feature.detach())
    assert loss.item() == feature.square().sum().item()
    torch.testing.assert_close(torch.autograd.grad(2 * loss, weight)[0], walked)
    with torch.no_grad():
        assert not known_gradient(feature, loss, 2 * feature).requires_grad


def test_a_known_gradient_gives_the_loss_its_type():
    feature = torch.zeros(3, 4, requires_grad=True)
    assert known_gradient(feature, np.float64(0.5), np.ones((3, 4), np.float32)).dtype == torch.float32


def test_a_scaled_gradient_is_rounded_after_it_is_scaled():
    feature = torch.zeros(3, 4, dtype=torch.float16, requires_grad=True)
    gradient = torch.full((3, 4), 1.2e-8)  # 0 in float16
    (2.0**16 * known_gradient(feature, torch.tensor(1.0), gradient)).backward()
    torch.testing.assert_close(feature.grad, torch.full((3, 4), 2.0**16 * 1.2e-8, dtype=torch.float16))
