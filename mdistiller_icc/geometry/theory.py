"""Does a measured quantity follow the form a/λ + b, by which the theory bounds it (ICC, Thm 4.3 [B])?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mdistiller_icc.errors import UserError


@dataclass(frozen=True)
class Fit:
    """``y ≈ a/λ + b``; ``r2`` is None where y does not vary, ``points`` counts the measurements."""

    a: float
    b: float
    r2: float | None
    points: int

    def __call__(self, weight: float) -> float:
        """The curve's value at λ = ``weight``."""
        return self.a / weight + self.b


def fit_inverse(weights: Sequence[float], values: Sequence[float]) -> Fit:
    """Fit ``y = a/λ + b`` by least squares and return it with ``R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)²``.

    Points at λ = 0 have no place on the curve and are left out. The smallest λ lie furthest out on 1/λ
    and so carry the fit: look at the picture beside R².

    Args:
        weights: λ of each measurement; repeat it for several seeds.
        values: y, such as L_Intra/L_Inter or the intra/inter ratio.

    Raises:
        UserError: fewer than three measurements, or fewer than two different λ, above 0.

    >>> fit = fit_inverse([0.5, 1.0, 2.0], [5.0, 3.0, 2.0])
    >>> round(fit.a, 6), round(fit.b, 6), round(fit.r2, 6)
    (2.0, 1.0, 1.0)
    """
    weight, value = np.asarray(weights, float), np.asarray(values, float)
    weight, value = weight[weight > 0], value[weight > 0]
    if len(weight) < 3 or len(np.unique(weight)) < 2:
        raise UserError(
            f"fitting a/λ + b needs at least three measurements at two or more λ > 0, "
            f"got {len(weight)} at {len(np.unique(weight))}"
        )
    design = np.stack([1 / weight, np.ones_like(weight)], axis=1)
    (a, b), *_ = np.linalg.lstsq(design, value, rcond=None)
    residual = float(((value - design @ (a, b)) ** 2).sum())
    total = float(((value - value.mean()) ** 2).sum())
    # Rounding of equal values is no variation.
    varies = total > 1e-24 * max(float((value**2).sum()), 1e-300)
    return Fit(float(a), float(b), 1 - residual / total if varies else None, len(weight))


def rank_correlation(weights: Sequence[float], values: Sequence[float]) -> float | None:
    """Return Spearman's ρ ∈ [−1, 1] of λ and y: 1 where y only ever grows with λ, None where either is constant.

    >>> rank_correlation([0.0, 0.01, 0.02], [1.0, 1.5, 7.0])
    1.0
    """
    if len(weights) < 2:
        return None
    ranks = [_ranks(np.asarray(column, float)) for column in (weights, values)]
    deviations = [rank - rank.mean() for rank in ranks]
    norm = float(np.prod([np.linalg.norm(deviation) for deviation in deviations]))
    return round(float(deviations[0] @ deviations[1]) / norm, 12) if norm else None


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties sharing their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def picture(measured: Mapping[str, tuple[Sequence[float], Sequence[float]]], label: str, path: str | Path) -> Path:
    """Draw measurements against λ, one panel per objective, with the fitted a/λ + b, and return the path.

    A dashed line marks the mean at λ = 0; an objective with too few points for a fit is drawn without.

    Args:
        measured: ``(weights, values)`` by objective, such as cross-entropy and the theory's contrastive one.
        label: what y is.
        path: the file to write.
    """
    from mdistiller_icc.geometry import pictures

    with pictures.canvas(len(measured), len(measured), width=4.2, height=3.4) as (figure, axes):
        for axis, (name, (weights, values)) in zip(axes, measured.items(), strict=True):
            weight, value = np.asarray(weights, float), np.asarray(values, float)
            positive = weight > 0
            axis.plot(weight[positive], value[positive], "o", color=pictures.COLOURS[0], label="measured")
            if (~positive).any():
                axis.axhline(value[~positive].mean(), color="0.4", linestyle="--", label="λ = 0")
            title = name
            try:
                fit = fit_inverse(weights, values)
            except UserError:
                pass
            else:
                grid = np.geomspace(weight[positive].min(), weight[positive].max(), 200)
                axis.plot(grid, [fit(x) for x in grid], color=pictures.COLOURS[1], label="a/λ + b, least squares")
                quality = "constant" if fit.r2 is None else f"R² = {fit.r2:.3f}"
                title += f"\na = {fit.a:.3g}, b = {fit.b:.3g}, {quality}"
            if positive.any():
                axis.set_xscale("log")
            axis.set(title=title, xlabel="weight λ of the intra-class loss", ylabel=label)
            axis.legend()
        figure.savefig(path)
    return Path(path)
