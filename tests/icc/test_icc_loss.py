"""The loss of ICC against Eq. (3) written out in plain Python."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mdistiller_icc.losses.intra_class import intra_class_loss, scaled


def reference(anchor, positive, negatives, valid, temperature):
    """Eq. (3) for every anchor, with Python's floats."""

    def dot(a, b):
        return math.fsum(x * y for x, y in zip(a, b, strict=True))

    losses = []
    for a, p, ns, vs in zip(anchor.tolist(), positive.tolist(), negatives.tolist(), valid.tolist(), strict=True):
        terms = [math.exp((dot(a, n) - dot(a, p)) / temperature) for n, v in zip(ns, vs, strict=True) if v]
        losses.append(math.log(1 + math.fsum(terms)))
    return losses


def unit(feature):
    return scaled(feature, "cosine")


def draw(seed, anchors, size, dim, similarity="dot"):
    source = torch.Generator().manual_seed(seed)
    drawn = torch.randn(anchors, size + 2, dim, generator=source, dtype=torch.float64)
    anchor, positive, negatives = scaled(drawn, similarity).split((1, 1, size), dim=1)
    anchor, positive = anchor.squeeze(1), positive.squeeze(1)
    valid = torch.rand(anchors, size, generator=source) < 0.7
    return anchor, positive, negatives, valid


@settings(deadline=None, max_examples=50)
@given(
    st.integers(0, 10**6), st.integers(0, 6), st.integers(1, 9), st.integers(1, 8), st.floats(0.05, 5.0),
    st.sampled_from(["dot", "cosine"]),
)  # fmt: skip
def test_equals_the_equation(seed, anchors, size, dim, temperature, similarity):
    tensors = draw(seed, anchors, size, dim, similarity)
    loss = intra_class_loss(*tensors, temperature)
    assert loss.shape == (anchors,)
    torch.testing.assert_close(loss.tolist(), reference(*tensors, temperature), rtol=1e-12, atol=1e-12)


def test_gradient():
    anchor, positive, negatives, valid = draw(1, 4, 5, 3)
    inputs = [t.requires_grad_() for t in (anchor, positive, negatives)]
    assert torch.autograd.gradcheck(lambda a, p, n: intra_class_loss(a, p, n, valid, 0.5), inputs)


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
    anchor, positive, negatives, valid = draw(5, 6, 8, 16, "cosine")
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


def test_dot_products_of_features_as_they_are_or_of_their_directions():
    feature = torch.randn(7, 5, dtype=torch.float64) * 100
    assert scaled(feature, "dot") is feature
    torch.testing.assert_close(scaled(feature, "cosine"), F.normalize(feature, dim=1))
    with pytest.raises(ValueError, match="dot or cosine"):
        scaled(feature, "euclidean")


def test_long_features_do_not_overflow():
    feature = (1e4 * torch.randn(3, 8, dtype=torch.float32)).requires_grad_()
    loss = intra_class_loss(feature[:1], feature[1:2], feature[2:][None], torch.ones(1, 1, dtype=torch.bool))
    loss.sum().backward()
    assert loss.isfinite().all() and feature.grad.isfinite().all()
