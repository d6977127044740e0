"""Accuracy over the epochs, from the ``metrics.jsonl`` of a cell's runs, as inline SVG that a style sheet colours."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 250, 150, 30, 6, 6, 18
MOST_POINTS = 120


class Point(NamedTuple):
    """Mean, lowest and highest test accuracy of some runs at one epoch."""

    epoch: int
    mean: float
    low: float
    high: float


class Curve(NamedTuple):
    """Points with their name and the class of the style sheet that colours them."""

    name: str
    style: str
    points: list[Point]


def read(folders: Iterable[str], metric: str) -> list[Point]:
    """A point for every epoch at which any of the runs was evaluated.

    Args:
        folders: run folders; those without readable metrics are passed over.
        metric: ``top1`` or ``top5``.
    """
    values: dict[int, list[float]] = defaultdict(list)
    for folder in folders:
        for epoch, accuracy in _accuracies(folder, f"test_{metric}").items():
            values[epoch].append(accuracy)
    return [Point(epoch, sum(many) / len(many), min(many), max(many)) for epoch, many in sorted(values.items())]


def _accuracies(folder: str, key: str) -> dict[int, float]:
    """One value by epoch; unreadable lines are passed over, and the later of two lines of an epoch counts."""
    found: dict[int, float] = {}
    try:
        with open(os.path.join(folder, "metrics.jsonl"), encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    metrics = json.loads(line)
                    epoch, accuracy = metrics["epoch"], float(metrics[key])
                except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                    continue
                if type(epoch) is int and epoch > 0 and 0 <= accuracy <= 100:
                    found[epoch] = accuracy
    except OSError:
        return {}
    return found


def accuracy_range(curves: Sequence[Curve]) -> tuple[float, float]:
    """The accuracies to show: all but what the first fifth of the epochs alone would reach down to."""
    low = min(point.low for curve in curves for point in curve.points[len(curve.points) // 5 :])
    high = max(point.high for curve in curves for point in curve.points)
    step = _step(high - low)
    return math.floor(low / step) * step, math.ceil(high / step) * step


def chart(curves: Sequence[Curve], limits: tuple[float, float], label: str, identity: str) -> str:
    """A small chart of accuracy over epochs: a line for the mean over seeds, a band from lowest to highest.

    Args:
        limits: the range of the accuracy axis, from `accuracy_range`.
        label: what a screen reader says.
        identity: unique within the page.
    """
    last = max(curve.points[-1].epoch for curve in curves)
    bottom, top = limits if limits[0] < limits[1] else (limits[0] - 1, limits[1] + 1)

    def x(epoch: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * epoch / last

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (top - value) / (top - bottom)

    def path(points: Iterable[tuple[int, float]]) -> str:
        return " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in points)

    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">',
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
    thinned = [(curve.style, _thinned(curve.points)) for curve in curves]
    for style, points in thinned:
        if any(point.low != point.high for point in points):
            around = [(p.epoch, p.high) for p in points] + [(p.epoch, p.low) for p in reversed(points)]
            parts.append(f'<polygon class="{style}" points="{path(around)}"/>')
    for style, points in thinned:
        parts.append(f'<polyline class="{style}" points="{path((p.epoch, p.mean) for p in points)}"/>')
    return "".join([*parts, "</g></svg>"])


def _step(span: float) -> float:
    """A round distance between grid lines: three to six of them over the span."""
    if span <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(span / 3))
    return max(step * size for step in (1, 2, 5) if step * size <= span / 3 or step == 1)


def _thinned(points: list[Point]) -> list[Point]:
    """At most `MOST_POINTS` of them, evenly spread, the last among them."""
    count = len(points)
    if count <= MOST_POINTS:
        return points
    return [points[round(i * (count - 1) / (MOST_POINTS - 1))] for i in range(MOST_POINTS)]
