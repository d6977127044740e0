"""Means, spreads and paired intervals over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev


@dataclass(frozen=True, slots=True)
class Summary:
    """A mean over ``n`` runs and their sample standard deviation (None for a single run)."""

    n: int
    mean: float
    std: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of ``n`` paired differences and its 95 % interval (None for a single pair of runs)."""

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
    return Summary(len(values), fmean(values), stdev(values) if len(values) > 1 else None)


def difference(differences: Sequence[float]) -> Difference:
    """Mean of at least one paired difference, with its 95 % interval by the t test.

    >>> difference([1.0, 3.0]).mean
    2.0
    """
    gain = summarise(differences)
    if gain.std is None:
        return Difference(1, gain.mean, None)
    half = _student_t(gain.n - 1) * gain.std / math.sqrt(gain.n)
    return Difference(gain.n, gain.mean, (gain.mean - half, gain.mean + half))


def paired(treated: Mapping[int, float], control: Mapping[int, float]) -> Difference | None:
    """Mean of ``treated − control`` over the seeds both have; None when they share none.

    >>> paired({0: 71.0, 1: 73.0}, {0: 70.0, 1: 70.0, 2: 99.0}).mean
    2.0

    Args:
        treated: value by seed.
        control: value by seed.
    """
    differences = [treated[seed] - control[seed] for seed in treated if seed in control]
    return difference(differences) if differences else None


@cache
def _student_t(freedom: int) -> float:
    """What 97.5 % of a Student t variable stays below; SciPy is loaded only where an interval is to be shown."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))
