"""Entropy, within-class share, margins and accuracy against plain loops, and their degenerate cases."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdistiller_icc.geometry.margins import accuracy, class_margins
from mdistiller_icc.geometry.soft_labels import entropy, within_class_share


def softmax(row, temperature):
    exponentials = [math.exp((o - max(row)) / temperature) for o in row]
    return [e / sum(exponentials) for e in exponentials]


def reference_share(logits, target, temperature):
    labels = [softmax(row, temperature) for row in logits.double().tolist()]

    def mean(rows):
        return [sum(column) / len(rows) for column in zip(*rows, strict=True)]

    def square(a, b):
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))

    overall, within, between = mean(labels), 0.0, 0.0
    for c in set(target.tolist()):
        members = [p for p, y in zip(labels, target.tolist(), strict=True) if y == c]
        centre = mean(members)
        within += sum(square(p, centre) for p in members)
        between += len(members) * square(centre, overall)
    return within / (within + between) if within + between > 1e-20 else None


@st.composite
def predictions(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    count, classes = draw(st.integers(1, 20)), draw(st.integers(1, 6))
    logits = torch.randn(count, classes, generator=generator) * draw(st.sampled_from([0.1, 3.0, 40.0]))
    return logits, torch.randint(0, classes, (count,), generator=generator)


@settings(max_examples=60, deadline=None)
@given(predictions(), st.sampled_from([1.0, 4.0]))
def test_soft_label_figures_equal_the_loops(prediction, temperature):
    logits, target = prediction
    rows = [softmax(row, temperature) for row in logits.double().tolist()]
    expected = sum(-sum(p * math.log(p) for p in row if p > 0) for row in rows) / len(rows)
    assert entropy(logits, temperature) == pytest.approx(expected, abs=1e-9)

    ours, theirs = within_class_share(logits, target, temperature), reference_share(logits, target, temperature)
    if max(max(column) - min(column) for column in zip(*rows, strict=True)) < 1e-9:
        return  # whether rounding counts as a difference is nobody's to say
    assert (ours is None) == (theirs is None)
    if ours is not None:
        assert ours == pytest.approx(theirs, abs=1e-9)
        assert 0 <= ours <= 1


@settings(max_examples=60, deadline=None)
@given(predictions())
def test_class_margins_equal_the_loops(prediction):
    logits, target = prediction
    margins = {}
    for row, y in zip(logits.double().tolist(), target.tolist(), strict=True):
        p = softmax(row, 1.0)
        other = max([p[i] for i in range(len(p)) if i != y], default=0.0)
        margins.setdefault(y, []).append(p[y] - other)
    for c, ours in enumerate(class_margins(logits, target)):
        theirs = sum(margins[c]) / len(margins[c]) if c in margins else None
        assert ours == (None if theirs is None else pytest.approx(theirs, abs=1e-9))


@settings(max_examples=30, deadline=None)
@given(predictions(), st.integers(0, 2**31))
def test_order_and_constant_shifts_do_not_matter(prediction, seed):
    logits, target = prediction[0].double(), prediction[1]
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(seed))
    moved, relabelled = logits[order] + 7.0, target[order]
    assert entropy(moved, 4.0) == pytest.approx(entropy(logits, 4.0), abs=1e-9)
    before, after = within_class_share(logits, target, 4.0), within_class_share(moved, relabelled, 4.0)
    assert after == (None if before is None else pytest.approx(before, abs=1e-9))
    assert accuracy(moved, relabelled) == accuracy(logits, target)


def test_bounds_are_reached():
    assert entropy(torch.zeros(3, 10), 4.0) == pytest.approx(math.log(10))
    assert entropy(1000 * torch.eye(4), 1.0) == 0
    assert class_margins(1000 * torch.eye(3)[:2], torch.tensor([0, 2])) == [1.0, None, -1.0]


def test_hard_labels_of_one_class_vary_only_between_classes():
    target = torch.arange(12) % 3
    logits = 50 * torch.nn.functional.one_hot(target, 3).float()
    assert within_class_share(logits, target, 1.0) == 0
    one_class = torch.zeros(12, dtype=torch.long)
    assert within_class_share(logits, one_class, 1.0) == 1


def test_equal_soft_labels_have_no_share():
    assert within_class_share(torch.full((8, 100), 0.3), torch.arange(8), 4.0) is None


def test_temperature_uncovers_what_lies_within_classes():
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(200) % 10
    logits = 8.0 * torch.nn.functional.one_hot(target, 10) + torch.randn(200, 10, generator=generator)
    assert entropy(logits, 4.0) > entropy(logits, 1.0)
    assert within_class_share(logits, target, 4.0) > within_class_share(logits, target, 1.0)


def test_accuracy_is_in_percent():
    assert accuracy(torch.eye(4), torch.tensor([0, 1, 2, 0])) == 75.0
