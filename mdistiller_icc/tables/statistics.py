"""Means, spreads and paired intervals over seeds, in plain Python."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Summary:
    """A mean over ``n`` runs and their sample standard deviation (None for a single run)."""

    n: int
    mean: float
    std: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of ``n`` paired differences and its 95 % interval (None for a single pair)."""

    n: int
    mean: float
    interval: tuple[float, float] | None

    @property
    def flat(self) -> bool:
        """Whether every difference was the same, so that the interval has no width."""
        return self.interval is not None and self.interval[1] - self.interval[0] < 1e-9

    @property
    def clear(self) -> bool:
        """Whether the interval has a width and leaves out 0."""
        return self.interval is not None and not self.flat and not self.interval[0] <= 0 <= self.interval[1]


def summarise(values: Sequence[float]) -> Summary:
    """Mean and sample standard deviation (divisor n − 1) of at least one value.

    >>> summarise([70.0, 71.0, 72.0])
    Summary(n=3, mean=71.0, std=1.0)
    """
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Summary(1, mean, None)
    return Summary(len(values), mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)))


def paired(
    treated: Mapping[Hashable, float], control: Mapping[Hashable, float], level: float = 0.95
) -> Difference | None:
    """Mean of ``treated − control`` over the keys both have, with its paired Student t interval.

    >>> paired({0: 71.0, 1: 73.0}, {0: 70.0, 1: 70.0, 2: 99.0}).mean
    2.0

    Args:
        treated: value by seed.
        control: value by seed.
        level: confidence of the interval.

    Returns:
        None when they share no seed.
    """
    differences = [treated[key] - control[key] for key in treated if key in control]
    if not differences:
        return None
    gain = summarise(differences)
    if gain.std is None:
        return Difference(1, gain.mean, None)
    half = t_quantile(0.5 + level / 2, gain.n - 1) * gain.std / math.sqrt(gain.n)
    return Difference(gain.n, gain.mean, (gain.mean - half, gain.mean + half))


@lru_cache
def t_quantile(probability: float, freedom: int) -> float:
    """The value a Student t variable stays below with this probability (0.5 ≤ probability < 1)."""
    if not 0.5 <= probability < 1 or freedom < 1:
        raise ValueError(f"no quantile for probability {probability} and {freedom} degrees of freedom")
    low, high = 0.0, math.pi / 2  # bisect the angle atan(t / sqrt(freedom)), which is bounded
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if _within(middle, freedom) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def _within(angle: float, freedom: int) -> float:
    """P(|t| < sqrt(freedom)·tan(angle)): Abramowitz and Stegun 26.7.3 (odd) and 26.7.4 (even), exact finite sums."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(odd + 1, freedom, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    return (angle + sine * total) * 2 / math.pi if odd else sine * total
