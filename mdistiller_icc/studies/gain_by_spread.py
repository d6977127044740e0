"""Does a student gain more, the wider the classes of its teacher? Each against the plain teacher of its seed."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from mdistiller_icc.geometry.pictures import COLOURS, MARKERS, canvas
from mdistiller_icc.geometry.theory import rank_correlation
from mdistiller_icc.studies.against_plain import plain_of
from mdistiller_icc.studies.results import Result

FEWEST = 3
"""Teachers over which a correlation says anything."""


@dataclass(frozen=True)
class Gain:
    """A student's gain from its teacher over the plain one, and how much wider that teacher's classes are.

    Attributes:
        who: method and student.
        recipe: of the teacher.
        wider: its intra-class distance, less that of the plain teacher of the same seed.
        points: the student's top-1, less that of the same student of the plain teacher, in percentage points.
    """

    who: str
    recipe: str
    seed: int
    wider: float
    points: float


def gains(found: Iterable[Result], spread: Mapping[tuple[str, int], float]) -> list[Gain]:
    """Every student that has a like of the plain teacher of its seed; none of whom there are too few to compare.

    Args:
        found: the results, of teachers and students alone too, which are passed over.
        spread: intra-class distances of teachers, by recipe and seed.
    """
    students = {(one.who, one.recipe, one.seed): one for one in found if one.role == "student" and one.recipe}
    pairs = []
    for (who, recipe, seed), one in students.items():
        plain = plain_of(recipe)
        other = students.get((who, plain, seed))
        if recipe != plain and other and {(recipe, seed), (plain, seed)} <= spread.keys():
            wider = spread[recipe, seed] - spread[plain, seed]
            pairs.append(Gain(who, recipe, seed, wider, one.top1 - other.top1))
    return [one for own in _by_who(pairs).values() if len(own) >= FEWEST for one in own]


def told(found: Sequence[Gain]) -> str:
    """A line for every method and student: how its gain is correlated with the spread, and over how many teachers."""
    lines = []
    for who, own in _by_who(found).items():
        rank = rank_correlation([one.wider for one in own], [one.points for one in own])
        shown = "–" if rank is None else f"{rank:+.2f}"
        lines.append(f"{who}: Spearman's rank correlation of gain and spread {shown}, {len(own)} teachers")
    return "\n".join(lines)


def save(found: Sequence[Gain], folder: Path, drawn: bool) -> list[Path]:
    """Write ``gain_by_spread.csv``, and the picture beside it, and return their paths."""
    paths = [folder / "gain_by_spread.csv"]
    with open(paths[0], "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Gain)])
        writer.writerows(astuple(one) for one in found)
    if drawn:
        paths.append(_picture(found, folder / "gain_by_spread.png"))
    return paths


def _picture(found: Sequence[Gain], path: Path) -> Path:
    with canvas(1, 1, width=5.4, height=3.4) as (figure, (axis,)):
        axis.axhline(0, color="0.8", linewidth=1)
        for place, (who, own) in enumerate(_by_who(found).items()):
            colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
            axis.scatter(
                [one.wider for one in own], [one.points for one in own], s=16, color=colour, marker=marker, label=who
            )
        axis.set(xlabel="teacher's intra-class distance, less the plain teacher's", ylabel="student's gain (points)")
        axis.legend(fontsize=7)
        figure.savefig(path)
    return path


def _by_who(found: Iterable[Gain]) -> dict[str, list[Gain]]:
    grouped: dict[str, list[Gain]] = {}
    for one in found:
        grouped.setdefault(one.who, []).append(one)
    return grouped
