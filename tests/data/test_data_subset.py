from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdistiller_icc.data.subset import take_fraction, take_share

labels_of = st.lists(st.integers(0, 5), min_size=1, max_size=120).map(lambda values: np.array(values, dtype=np.int64))


@given(labels_of, st.floats(0.001, 1.0))
def test_a_fraction_holds_the_same_share_of_every_class_and_at_least_one(labels, fraction):
    rows = take_fraction(labels, fraction)
    assert np.array_equal(rows, np.unique(rows))
    for label, size in zip(*np.unique(labels, return_counts=True), strict=True):
        assert (labels[rows] == label).sum() == max(round(size * fraction), 1)


@given(labels_of, st.floats(0.001, 1.0), st.floats(0.001, 1.0))
def test_fractions_are_nested(labels, one, other):
    small, large = sorted((one, other))
    assert set(take_fraction(labels, small)) <= set(take_fraction(labels, large))


@given(labels_of, st.floats(0.001, 0.999))
def test_a_share_splits_every_class_and_leaves_something_on_both_sides(labels, share):
    kept, aside = take_share(labels, share)
    assert np.array_equal(np.sort(np.concatenate([kept, aside])), np.arange(len(labels)))
    for label, size in zip(*np.unique(labels, return_counts=True), strict=True):
        count = (labels[aside] == label).sum()
        assert count == min(max(round(size * share), 1), size - 1)


def test_no_share_sets_nothing_aside():
    kept, aside = take_share(np.array([0, 0, 1, 1]), 0.0)
    assert kept.tolist() == [0, 1, 2, 3] and aside.tolist() == []


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_which_images_are_chosen_is_not_which_come_first(fraction):
    rows = take_fraction(np.zeros(1000, dtype=np.int64), fraction)
    assert 400 < rows.mean() < 600
