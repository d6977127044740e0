"""What a recipe changes in its teachers: every figure against the plain teacher of the same seed."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from mdistiller_icc.tables.statistics import Difference, paired
from mdistiller_icc.tables.text import signed
from mdistiller_icc.teachers.store import KINDS

FEWEST = 2
"""Seeds that an interval takes."""

Figures = Mapping[tuple[str, int], Mapping[str, float | None]]
"""Figures by name, of every recipe and seed; None where a teacher has no such figure."""


def plain_of(recipe: str) -> str:
    """The plain teacher that is like another recipe's.

    >>> plain_of("resnet20_icc,ICC.MARGIN:0.5")
    'resnet20_vanilla'
    """
    return f"{recipe.partition(',')[0].rpartition('_')[0]}_{KINDS['NONE']}"


def changes(figures: Figures) -> dict[tuple[str, str], Difference]:
    """The mean difference and its 95 % interval, by recipe and figure; none where fewer than two seeds have both.

    >>> found = changes({(f"a_{kind}", seed): {"intra": 1.0 + seed + wider} for seed in (0, 1)
    ...                  for kind, wider in (("vanilla", 0.0), ("icc", 0.5))})
    >>> found["a_icc", "intra"].mean
    0.5
    """
    by_seed: dict[tuple[str, str], dict[int, float]] = {}
    for (recipe, seed), own in figures.items():
        for name, value in own.items():
            if value is not None:
                by_seed.setdefault((recipe, name), {})[seed] = value
    found = {}
    for (recipe, name), values in by_seed.items():
        plain = plain_of(recipe)
        change = paired(values, by_seed.get((plain, name), {}))
        if recipe != plain and change and change.n >= FEWEST:
            found[recipe, name] = change
    return found


def told(found: Mapping[tuple[str, str], Difference]) -> str:
    """A Markdown table of them, a line each."""
    lines = ["| teacher | figure | recipe − plain | seeds |", "| --- | --- | ---: | ---: |"]
    for (recipe, name), change in found.items():
        assert change.interval is not None, "of two seeds or more"
        low, high = (signed(bound, 3) for bound in change.interval)
        lines.append(f"| {recipe} | {name} | {signed(change.mean, 3)} [{low}, {high}] | {change.n} |")
    return "\n".join(lines)


def save(found: Mapping[tuple[str, str], Difference], path: Path) -> None:
    """Write them as CSV."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["teacher", "figure", "change", "low", "high", "seeds"])
        for (recipe, name), change in found.items():
            writer.writerow([recipe, name, change.mean, *(change.interval or ("", "")), change.n])
