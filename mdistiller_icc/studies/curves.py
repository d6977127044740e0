"""The pictures of a study's results: against a setting, and accuracy against epochs to converge with its front.

Every point is a mean over seeds, its bar the sample standard deviation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mdistiller_icc.geometry.pictures import COLOURS, MARKERS, canvas
from mdistiller_icc.studies.pareto import front
from mdistiller_icc.studies.results import Mean, Result, by_recipe, mean

SYMBOLS = {"ICC.MARGIN": "δ", "ICC.WEIGHT": "λ", "ICC.QUEUE.SIZE": "n", "ICC.TEMPERATURE": "τ"}
PER_ROW = 3


def named(key: str) -> str:
    """A setting as an axis names it: ``δ (ICC.MARGIN)``."""
    return f"{SYMBOLS[key]} ({key})" if key in SYMBOLS else key


def settings_told(varied: dict[str, Any]) -> str:
    """Settings in a few characters: ``λ 0.02, δ 0.3``."""
    return ", ".join(f"{SYMBOLS.get(key, key)} {value}" for key, value in varied.items())


def sensitivity(found: Sequence[Result], key: str, share: float, top1_of: str, path: Path) -> Path:
    """Draw the students' accuracy, and below it their teachers' epochs until a share of theirs, against a setting.

    Other settings that vary make lines of their own; a dashed line is the teacher of whom nothing varies. A table
    without students has the teachers' accuracy.

    Args:
        found: the results.
        key: the setting, such as ``ICC.MARGIN``.
        share: of its final accuracy, at which a teacher's epochs are counted.
        top1_of: which images, ``test`` or ``holdout``.
        path: the file to write.
    """
    students = [one for one in found if one.role == "student" and one.recipe]
    teachers = [one for one in found if one.role == "teacher"]
    values = {str(one.varied[key]): one.varied[key] for one in found if key in one.varied}  # some are lists
    numeric = all(isinstance(value, (int, float)) for value in values.values())
    told = sorted(values, key=values.__getitem__) if numeric else [*values]
    at = {text: values[text] if numeric else place for place, text in enumerate(told)}
    with canvas(2, 1, width=5.4, height=2.9) as (figure, (above, below)):
        _lines(above, students or teachers, key, at, lambda one: one.top1)
        _lines(below, teachers, key, at, lambda one: one.epochs)
        whose = "students'" if students else "teachers'"
        above.set(ylabel=f"{whose} {top1_of} top-1 (%)")
        below.set(ylabel=f"teachers' epochs until\n{share:.0%} of their final top-1", xlabel=named(key))
        for axis in (above, below):
            axis.set_xticks(list(at.values()), told)
            if axis.get_legend_handles_labels()[0]:
                axis.legend(fontsize=7)
        figure.savefig(path)
    return path


def _lines(axis: Any, found: Iterable[Result], key: str, at: dict[str, float], figure: Any) -> None:
    varying: dict[str, dict[str, list[float]]] = {}
    fixed: dict[str, list[float]] = {}
    for one in found:
        others = settings_told({name: value for name, value in one.varied.items() if name != key})
        label = ", ".join(filter(None, [one.who if one.role == "student" else "", one.teacher, others]))
        if key in one.varied:
            varying.setdefault(label, {}).setdefault(str(one.varied[key]), []).append(figure(one))
        else:
            fixed.setdefault(label, []).append(figure(one))
    for place, (label, points) in enumerate(varying.items()):
        means = {value: mean(points[value]) for value in at if value in points}
        axis.errorbar(
            [at[value] for value in means],
            [one.mean for one in means.values()],
            yerr=[one.spread for one in means.values()],
            color=COLOURS[place % len(COLOURS)],
            marker=MARKERS[place % len(MARKERS)],
            markersize=4,
            linewidth=1,
            capsize=2,
            label=label,
        )
    for place, (label, values) in enumerate(fixed.items()):
        axis.axhline(mean(values).mean, color=COLOURS[place % len(COLOURS)], linestyle="--", linewidth=1, label=label)


@dataclass(frozen=True)
class Choice:
    """A teacher's recipe as a choice: how many epochs it takes to converge and how good ``who`` becomes with it."""

    who: str
    recipe: str
    varied: dict[str, Any]
    epochs: Mean
    top1: Mean
    on_front: bool = False


def choices(found: Sequence[Result]) -> list[Choice]:
    """Every recipe's teacher, and each of its students, against the teacher's epochs; on the front or not."""
    compared: dict[str, list[Choice]] = {}
    for recipe, whose in by_recipe(found).items():
        if "teacher" not in whose:
            continue  # a student alone, and those of a teacher that was not trained here
        epochs = mean(one.epochs for one in whose["teacher"])
        for who, many in whose.items():
            of = f"{many[0].teacher.rpartition('_')[0]}, {who}"
            choice = Choice(of, recipe, many[0].varied, epochs, mean(one.top1 for one in many))
            compared.setdefault(of, []).append(choice)
    told = []
    for panel in compared.values():
        best = front([(one.epochs.mean, one.top1.mean) for one in panel])
        told += [replace(one, on_front=i in best) for i, one in enumerate(panel)]
    return told


def pareto(told: Sequence[Choice], share: float, top1_of: str, path: Path) -> Path:
    """Draw accuracy against the teacher's epochs to converge, a panel for whoever was trained, with its front.

    Those on the front are named, and the teachers of whom nothing varies, which are squares.
    """
    panels: dict[str, list[Choice]] = {}
    for one in told:
        panels.setdefault(one.who, []).append(one)
    with canvas(len(panels), PER_ROW, width=3.6, height=3.2) as (figure, axes):
        for axis, (who, many) in zip(axes, panels.items(), strict=True):
            for one in many:
                colour, marker = COLOURS[1] if one.on_front else "0.6", "o" if one.varied else "s"
                spread = {"xerr": one.epochs.spread, "yerr": one.top1.spread}
                at = one.epochs.mean, one.top1.mean
                axis.errorbar(*at, **spread, fmt=marker, markersize=4, linewidth=0.6, color=colour)
                if one.on_front or not one.varied:
                    label = settings_told(one.varied) or one.recipe
                    axis.annotate(label, at, (4, 4), textcoords="offset points", fontsize=7)
            best = sorted((one.epochs.mean, one.top1.mean) for one in many if one.on_front)
            axis.step([x for x, _y in best], [y for _x, y in best], where="post", color=COLOURS[1], linewidth=1)
            axis.set(title=who, xlabel=f"teacher's epochs until {share:.0%} of its top-1")
            axis.set(ylabel=f"{top1_of} top-1 (%)")
        figure.savefig(path)
    return path
