"""Accuracy curves and intervals as inline SVG, coloured by the page's style sheet."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from mdistiller_icc.tables.curves import Band
from mdistiller_icc.tables.statistics import Difference

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 250, 150, 30, 6, 6, 18
MOST_POINTS = 120


@dataclass(frozen=True, slots=True)
class Curve:
    """A band with its name and the class of the style sheet that colours it."""

    name: str
    style: str
    band: Band


def accuracy_range(curves: Sequence[Curve]) -> tuple[float, float]:
    """The accuracies to show: all but what the first fifth of the epochs alone would reach down to."""
    low = min(min(c.band.low[len(c.band.low) // 5 :]) for c in curves)
    high = max(max(c.band.high) for c in curves)
    step = _step(high - low)
    return math.floor(low / step) * step, math.ceil(high / step) * step


def chart(curves: Sequence[Curve], limits: tuple[float, float], label: str, identity: str) -> str:
    """A small chart of accuracy over epochs: a line for the mean over seeds, a band from lowest to highest.

    Args:
        limits: the range of the accuracy axis, from `accuracy_range`.
        label: what a screen reader says.
        identity: unique within the page.
    """
    last = max(c.band.epochs[-1] for c in curves)
    bottom, top = limits if limits[0] < limits[1] else (limits[0] - 1, limits[1] + 1)

    def x(epoch: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * epoch / last

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (top - value) / (top - bottom)

    def points(epochs: Sequence[int], values: Sequence[float]) -> str:
        return " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in zip(epochs, values, strict=True))

    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label)}">',
        f'<clipPath id="{identity}"><rect x="{LEFT}" y="{TOP - 1}" width="{WIDTH - LEFT - RIGHT + 1}" '
        f'height="{HEIGHT - TOP - BOTTOM + 2}"/></clipPath>',
    ]
    step = _step(top - bottom)
    for i in range(round((top - bottom) / step) + 1):
        value = bottom + i * step
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 4}" y="{y(value) + 3:.1f}" text-anchor="end">{value:g}</text>')
    for epoch, anchor in ((0, "start"), (last // 2, "middle"), (last, "end")):
        parts.append(f'<text x="{x(epoch):.1f}" y="{HEIGHT - 4}" text-anchor="{anchor}">{epoch}</text>')
    parts.append(f'<g clip-path="url(#{identity})">')
    for curve in curves:
        kept = _thinned(len(curve.band.epochs))
        epochs = [curve.band.epochs[i] for i in kept]
        low, high = [curve.band.low[i] for i in kept], [curve.band.high[i] for i in kept]
        if low != high:
            around = f"{points(epochs, high)} {points(epochs[::-1], low[::-1])}"
            parts.append(f'<polygon class="{curve.style}" points="{around}"/>')
    for curve in curves:
        kept = _thinned(len(curve.band.epochs))
        line = points([curve.band.epochs[i] for i in kept], [curve.band.mean[i] for i in kept])
        parts.append(f'<polyline class="{curve.style}" points="{line}"/>')
    return "".join([*parts, "</g></svg>"])


def interval(difference: Difference, reach: float) -> str:
    """A gain as a dot with its interval on an axis from −reach to +reach; what goes beyond is cut off."""
    width, middle = 84, 42

    def x(value: float) -> float:
        return middle + (middle - 4) * max(-1.0, min(1.0, value / reach))

    low, high = difference.interval or (difference.mean, difference.mean)
    return (
        f'<svg class="interval" viewBox="0 0 {width} 12" aria-hidden="true">'
        f'<line class="zero" x1="{middle}" x2="{middle}" y1="0" y2="12"/>'
        f'<line class="range" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="6" y2="6"/>'
        f'<circle cx="{x(difference.mean):.1f}" cy="6" r="2.6"/></svg>'
    )


def _step(span: float) -> float:
    """A round distance between grid lines: three to six of them over the span."""
    if span <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(span / 3))
    return max(step * size for step in (1, 2, 5) if step * size <= span / 3 or step == 1)


def _thinned(count: int) -> list[int]:
    """At most `MOST_POINTS` of the indices, evenly spread, the last among them."""
    if count <= MOST_POINTS:
        return list(range(count))
    return [round(i * (count - 1) / (MOST_POINTS - 1)) for i in range(MOST_POINTS)]
