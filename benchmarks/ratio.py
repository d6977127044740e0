"""Ratios of measurements taken in turn: what a shared machine, whose speed changes, still measures well."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence


def ratio(upper: Sequence[float], lower: Sequence[float]) -> dict[str, float]:
    """Median and quartiles of upper / lower, of measurements taken in pairs, each pair one after the other.

    >>> ratio([2.0, 4.0, 9.0], [1.0, 2.0, 3.0])
    {'median': 2.0, 'low': 2.0, 'high': 2.5, 'pairs': 3}
    """
    ratios = [above / below for above, below in zip(upper, lower, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return {"median": round(median, 4), "low": round(low, 4), "high": round(high, 4), "pairs": len(ratios)}


def alternate(
    calls: dict[str, Callable[[], object]], rounds: int, warm_up: int = 3, limit: float = 60.0
) -> dict[str, list[float]]:
    """Make every call in turn, round after round, and return the seconds that each took.

    After ``warm_up`` rounds that do not count come at most ``rounds`` that do. Once three have counted, none begins
    later than ``limit`` seconds after the first.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    begun = time.perf_counter()
    for number in range(warm_up + rounds):
        if number >= warm_up + 3 and time.perf_counter() - begun > limit:
            break
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds
