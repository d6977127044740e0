from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mdistiller_icc.tables.statistics import paired, summarise

PRINTED = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 29: 2.045, 30: 2.042, 120: 1.980}
"""Two-sided 95 % points as textbooks print them."""

percent = st.floats(0, 100)
seeds = st.integers(0, 8)


@pytest.mark.parametrize(("freedom", "value"), PRINTED.items())
def test_interval_has_the_printed_quantile(freedom, value):
    n = freedom + 1
    treated = {seed: 50.0 + seed % 5 for seed in range(n)}
    gain = paired(treated, dict.fromkeys(range(n), 50.0))
    half = (gain.interval[1] - gain.interval[0]) / 2
    assert round(half * math.sqrt(n) / summarise([*treated.values()]).std, 3) == value


def test_summary_has_the_sample_deviation():
    assert summarise([70.0, 71.0, 72.0]).std == 1.0
    assert summarise([70.0]).std is None


def test_interval_by_hand():
    # differences 1, 2, 3: mean 2, deviation 1; with 2 degrees of freedom the quantile has a closed form, 4.302653
    gain = paired({0: 71.0, 1: 73.0, 2: 75.0}, {0: 70.0, 1: 71.0, 2: 72.0})
    half = 0.95 * math.sqrt(2 / (1 - 0.95**2)) / math.sqrt(3)
    assert (gain.n, gain.mean) == (3, 2.0)
    assert gain.interval == pytest.approx((2 - half, 2 + half), rel=1e-9)  # SciPy 1.11 has the quantile to 4e-11
    assert not gain.clear


def test_one_pair_has_no_interval_and_no_pair_no_gain():
    one = paired({0: 71.0, 1: 60.0}, {0: 70.0, 2: 99.0})
    assert (one.n, one.mean, one.interval, one.clear) == (1, 1.0, None, False)
    assert paired({0: 71.0}, {1: 70.0}) is None


def test_equal_differences_are_flat_and_never_clear():
    gain = paired({0: 97.2, 1: 97.5, 2: 96.1}, {0: 96.9, 1: 97.2, 2: 95.8})
    assert gain.flat and not gain.clear


@given(st.dictionaries(seeds, percent), st.dictionaries(seeds, percent))
def test_gain_turns_round_with_its_sides_and_uses_common_seeds_only(treated, control):
    common = treated.keys() & control.keys()
    gain, loss = paired(treated, control), paired(control, treated)
    assert (gain is None) == (not common)
    if gain:
        assert gain.n == len(common)
        assert gain.mean == pytest.approx(-loss.mean, abs=1e-9)
        if gain.interval:
            assert gain.interval[0] <= gain.mean <= gain.interval[1]
            assert gain.interval == pytest.approx((-loss.interval[1], -loss.interval[0]), abs=1e-9)


def test_interval_is_that_of_a_paired_t_test():
    treated, control = [71.2, 70.8, 71.9, 70.1, 71.0], [70.9, 70.9, 71.1, 70.2, 70.4]
    wanted = stats.ttest_rel(treated, control).confidence_interval(0.95)
    gain = paired(dict(enumerate(treated)), dict(enumerate(control)))
    assert gain.interval == pytest.approx((wanted.low, wanted.high), rel=1e-10)
