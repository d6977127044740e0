"""The fit a/λ + b and the rank correlation."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdistiller_icc.errors import UserError
from mdistiller_icc.geometry.theory import fit_inverse, rank_correlation

finite = st.floats(-5, 5)
WEIGHTS = [0.005, 0.01, 0.02, 0.03, 0.05]


@settings(max_examples=50, deadline=None)
@given(finite, finite, st.lists(finite, min_size=5, max_size=5))
def test_the_fit_is_the_least_squares_line_in_one_over_weight(a, b, noise):
    values = [a / w + b + e for w, e in zip(WEIGHTS, noise, strict=True)]
    fit = fit_inverse([0.0, *WEIGHTS], [1e6, *values])
    x = [1 / w for w in WEIGHTS]
    mx, my = sum(x) / 5, sum(values) / 5
    slope = sum((p - mx) * (q - my) for p, q in zip(x, values, strict=True)) / sum((p - mx) ** 2 for p in x)
    assert fit.a == pytest.approx(slope, abs=1e-8)
    assert fit.b == pytest.approx(my - slope * mx, abs=1e-6)
    assert fit.points == 5
    total = sum((q - my) ** 2 for q in values)
    if total > 1e-6:
        rest = sum((q - fit(w)) ** 2 for w, q in zip(WEIGHTS, values, strict=True))
        assert fit.r2 == pytest.approx(1 - rest / total, abs=1e-6)


def test_exact_values_are_found_and_constant_ones_have_no_r2():
    fit = fit_inverse(WEIGHTS, [0.3 / w + 1.5 for w in WEIGHTS])
    assert (fit.a, fit.b, fit.r2) == (pytest.approx(0.3), pytest.approx(1.5), pytest.approx(1.0))
    constant = fit_inverse(WEIGHTS, [1.1] * 5)
    assert constant.r2 is None and constant(0.01) == pytest.approx(1.1)
    assert fit_inverse(WEIGHTS, [0.0] * 5).r2 is None


@pytest.mark.parametrize("weights", [[], [0.0, 0.0, 0.0], [0.1, 0.2], [0.1, 0.1, 0.1]])
def test_too_few_measurements_are_refused(weights):
    with pytest.raises(UserError, match="at least three measurements at two or more"):
        fit_inverse(weights, [1.0] * len(weights))


def test_rank_correlation_agrees_with_scipy_and_knows_constants():
    spearmanr = pytest.importorskip("scipy.stats").spearmanr
    weights, values = [0, 0, 0.01, 0.02, 0.02, 0.05], [1.0, 1.2, 1.1, 1.4, 1.1, 3.0]
    assert rank_correlation(weights, values) == pytest.approx(spearmanr(weights, values).statistic)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == -1.0
    assert rank_correlation([1, 2, 3], [2, 2, 2]) is None
    assert rank_correlation([], []) is None
