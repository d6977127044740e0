"""Which of several choices no other one beats in both of two respects."""

from __future__ import annotations

from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The places of the points on the Pareto front, cheapest first.

    A point is on it if no other costs at most as much and is worth at least as much, one of the two strictly. Equal
    points are on it together.

    Args:
        points: (cost, value), such as epochs and accuracy.

    >>> front([(10, 70.0), (20, 72.0), (15, 69.0), (20, 71.0)])
    [0, 1]
    """
    cheapest_first = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    best, on_it = float("-inf"), list[int]()
    for i in cheapest_first:
        if points[i][1] > best or (on_it and points[i] == points[on_it[-1]]):
            on_it.append(i)
            best = points[i][1]
    return on_it
