"""Numbers and short texts as Markdown and HTML show them."""

from __future__ import annotations

from mdistiller_icc.tables.rows import Column, Pair
from mdistiller_icc.tables.statistics import Difference, Summary


def accuracy(summary: Summary) -> str:
    """``97.20 ± 0.31``, or ``97.20`` for a single run."""
    return f"{summary.mean:.2f}" if summary.std is None else f"{summary.mean:.2f} ± {summary.std:.2f}"


def points(difference: Difference) -> str:
    """``+0.42 [−0.10, +0.94]``, or ``+0.42`` for a single pair of runs."""
    if difference.interval is None:
        return signed(difference.mean)
    low, high = difference.interval
    return f"{signed(difference.mean)} [{signed(low)}, {signed(high)}]"


def signed(value: float) -> str:
    """Two decimals with a sign and a true minus; what rounds to zero has none."""
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def column(name: Column) -> str:
    """``resnet56 → resnet20``, or the architecture."""
    return f"{name.teacher} → {name.student}" if isinstance(name, Pair) else name


def one_line(text: str) -> str:
    """The text with line breaks and control characters as single spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
