"""Distances against plain double-precision loops, their invariances and their degenerate cases."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdistiller_icc.geometry.distances import ClassSums, class_distances


def reference(features, target, num_classes):
    """The definitions of the module, pair by pair."""
    unit = []
    for row in features.double().tolist():
        norm = math.sqrt(sum(x * x for x in row))
        unit.append([x / norm if norm else 0.0 for x in row])
    members = [[u for u, y in zip(unit, target.tolist(), strict=True) if y == c] for c in range(num_classes)]

    def square(a, b):
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))

    def rms(squares):
        return math.sqrt(sum(squares) / len(squares)) if squares else None

    def mean(values):
        there = [v for v in values if v is not None]
        return sum(there) / len(there) if there else None

    intra = [rms([square(a, b) for i, a in enumerate(m) for j, b in enumerate(m) if i != j]) for m in members]
    means = {c: [sum(x) / len(m) for x in zip(*m, strict=True)] for c, m in enumerate(members) if m}
    inter = [
        rms([square(means[c], means[k]) for k in means if k != c]) if c in means else None for c in range(num_classes)
    ]
    return intra, inter, mean(intra), mean(inter)


@st.composite
def spaces(draw):
    """Features (N, D) with labels in which classes may be missing or have a single image."""
    seed, count = draw(st.integers(0, 2**31)), draw(st.integers(1, 24))
    dim, num_classes = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, dim, generator=generator)
    if draw(st.booleans()):
        features[0] = 0
    return features, torch.randint(0, num_classes, (count,), generator=generator), num_classes


def close(ours, theirs, tolerance=1e-6):
    return ours is theirs if None in (ours, theirs) else ours == pytest.approx(theirs, abs=tolerance)


def same(one, other):
    """Whether two spaces have the same distances, of every class and on average."""
    pairs = [(one.intra, other.intra), (one.inter, other.inter)]
    pairs += zip(one.intra_per_class, other.intra_per_class, strict=True)
    pairs += zip(one.inter_per_class, other.inter_per_class, strict=True)
    return all(close(*pair) for pair in pairs)


@settings(max_examples=60, deadline=None)
@given(spaces())
def test_distances_equal_the_loops(space):
    features, target, num_classes = space
    ours = class_distances(features, target, num_classes)
    intra, inter, mean_intra, mean_inter = reference(features, target, num_classes)
    for a, b in zip(ours.intra_per_class + ours.inter_per_class, intra + inter, strict=True):
        assert close(a, b)
    assert close(ours.intra, mean_intra)
    assert close(ours.inter, mean_inter)
    if ours.ratio is not None:
        assert ours.ratio == pytest.approx(mean_intra / mean_inter, rel=1e-5)
    assert ours.count == [int((target == c).sum()) for c in range(num_classes)]


@settings(max_examples=30, deadline=None)
@given(spaces(), st.integers(0, 2**31))
def test_order_rotation_and_scale_do_not_matter(space, seed):
    features, target, num_classes = space
    generator = torch.Generator().manual_seed(seed)
    before = class_distances(features.double(), target, num_classes)
    order = torch.randperm(len(target), generator=generator)
    rotation, _ = torch.linalg.qr(torch.randn(features.shape[1], features.shape[1], generator=generator).double())
    scale = torch.rand(len(target), 1, generator=generator).double() * 100 + 0.01
    assert same(class_distances(features.double()[order], target[order], num_classes), before)
    assert same(class_distances(features.double() @ rotation, target, num_classes), before)
    assert same(class_distances(features.double() * scale, target, num_classes), before)


@settings(max_examples=30, deadline=None)
@given(spaces(), st.integers(1, 7))
def test_batches_and_shards_give_the_figures_of_the_whole(space, size):
    features, target, num_classes = space
    whole = class_distances(features, target, num_classes)
    running = ClassSums(num_classes)
    shards = [ClassSums(num_classes), ClassSums(num_classes)]
    for step, (f, y) in enumerate(zip(features.split(size), target.split(size), strict=True)):
        running.add(f, y)
        shards[step % 2].add(f, y)
    assert same(running.distances(), whole)
    if shards[1].sums is not None:
        shards[0].sums.add_(shards[1].sums)
    assert same(shards[0].distances(), whole)


def test_unit_vectors_have_the_closed_form():
    features = torch.nn.functional.normalize(torch.randn(50, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    ours = class_distances(features, torch.zeros(50, dtype=torch.long), 1)
    closed = math.sqrt(2 * (1 - float(features.double().mean(0).square().sum())) * 50 / 49)
    assert ours.intra == pytest.approx(closed, abs=1e-6)


def test_a_collapsed_space_has_no_ratio_and_no_nan():
    ours = class_distances(torch.ones(20, 512) * 0.37, torch.arange(20) % 4, 4)
    assert ours.intra == pytest.approx(0, abs=1e-6)
    assert ours.inter == pytest.approx(0, abs=1e-6)
    assert ours.ratio is None


def test_a_tight_class_is_not_lost_to_rounding():
    generator = torch.Generator().manual_seed(0)
    noise = 1e-4 * torch.randn(500, 256, generator=generator)
    features = torch.ones(500, 256) + noise
    target = torch.zeros(500, dtype=torch.long)
    intra, _, mean_intra, _ = reference(features[:60], target[:60], 1)
    assert class_distances(features[:60], target[:60], 1).intra == pytest.approx(mean_intra, rel=1e-6)


def test_zero_features_are_a_point():
    ours = class_distances(torch.zeros(6, 3), torch.tensor([0, 0, 0, 1, 1, 1]), 2)
    assert (ours.intra, ours.inter, ours.ratio) == (0.0, 0.0, None)


def test_missing_and_single_image_classes_are_none():
    ours = class_distances(torch.eye(3), torch.tensor([0, 0, 2]), 3)
    assert ours.intra_per_class == [pytest.approx(math.sqrt(2)), None, None]
    assert ours.inter_per_class[1] is None
    assert ours.inter_per_class[0] == ours.inter_per_class[2] == pytest.approx(math.sqrt(1.5))
    assert ours.count == [2, 0, 1]


def test_nothing_added_is_none_everywhere_and_reset_forgets():
    sums = ClassSums(3)
    assert sums.distances().intra is None
    sums.add(torch.eye(3), torch.tensor([0, 0, 1]))
    sums.reset()
    empty = sums.distances()
    assert (empty.intra, empty.inter, empty.ratio, empty.count) == (None, None, None, [0, 0, 0])


def test_half_precision_features_and_a_graph_are_taken():
    features = torch.randn(40, 16, generator=torch.Generator().manual_seed(3))
    target = torch.arange(40) % 4
    exact = class_distances(features, target, 4)
    half = class_distances(features.bfloat16().requires_grad_(), target, 4)
    assert half.intra == pytest.approx(exact.intra, rel=2e-3)
    assert half.inter == pytest.approx(exact.inter, rel=2e-2)


def test_spread_grows_the_ratio():
    generator = torch.Generator().manual_seed(0)
    centre, noise = torch.randn(5, 16, generator=generator), torch.randn(200, 16, generator=generator)
    target = torch.arange(200) % 5
    ratios = [class_distances(centre[target] + spread * noise, target, 5).ratio for spread in (0.1, 0.3, 1.0)]
    assert ratios == sorted(ratios)
