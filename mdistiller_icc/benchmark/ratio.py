"""Ratios of alternating measurements: what a shared machine still measures well."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Ratio(NamedTuple):
    """Median and quartiles of the ratios of paired measurements."""

    median: float
    low: float
    high: float
    pairs: int


def ratio(upper: Sequence[float], lower: Sequence[float]) -> Ratio:
    """The ratio upper / lower of measurements taken in pairs, each pair one after the other.

    >>> ratio([2.0, 4.0, 9.0], [1.0, 2.0, 3.0]).median
    2.0
    """
    ratios = [above / below for above, below in zip(upper, lower, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Ratio(median, low, high, len(ratios))


def alternate(
    candidates: dict[str, Callable[[], Any]], rounds: int, warm_up: int = 3, limit: float = 60.0
) -> dict[str, list[float]]:
    """Call every candidate in turn, round after round, and return the seconds each call took.

    Args:
        candidates: by name.
        rounds: that count, at most.
        warm_up: rounds before them.
        limit: seconds after which no further round begins, once three have counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    begun = time.perf_counter()
    for number in range(warm_up + rounds):
        if number >= warm_up + 3 and time.perf_counter() - begun > limit:
            break
        for name, call in candidates.items():
            start = time.perf_counter()
            call()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds
