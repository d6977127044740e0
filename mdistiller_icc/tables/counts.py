"""How many runs most cells of a table have, so that only the others say it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mdistiller_icc.tables.report import Line


def common(counts: Iterable[int]) -> tuple[int, int]:
    """The number of runs that most cells have, and the largest number."""
    found = Counter(counts)
    return max(found, key=lambda n: (found[n], n)), max(found)


def times(n: int, rows: list[Line]) -> str:
    """The caption's word on it; cells with another number have it in brackets."""
    counted = any(place and place.count for row in rows for place in row.places)
    return f" (n = {n}{', elsewhere as in brackets' if counted else ''})"
