"""What a study's runs came to, one row a run: the tidy list that its curves are drawn from."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from mdistiller_icc.paths import make_folder
from mdistiller_icc.studies.convergence import epochs_until, final, history
from mdistiller_icc.studies.plan import PlannedRun
from mdistiller_icc.tables.text import harmless


@dataclass(frozen=True)
class Result:
    """A finished run: of a teacher, of its student, or of a student alone.

    Attributes:
        recipe: how the teacher was made, ``resnet56_icc,ICC.MARGIN:0.1``; empty for a student alone.
        varied: the settings of the recipe that the table varies.
        trained: architecture of the network trained.
        top1: after the last epoch, in percent.
        epochs: until the given share of ``top1``.
    """

    dataset: str
    recipe: str
    varied: dict[str, Any]
    role: str
    method: str
    trained: str
    seed: int
    top1: float
    epochs: int

    @property
    def teacher(self) -> str:
        """The recipe without what varies, ``resnet56_icc``."""
        return self.recipe.partition(",")[0]

    @property
    def who(self) -> str:
        """``teacher``, or method and student: what runs of different recipes are compared as."""
        return "teacher" if self.role == "teacher" else f"{self.method}, {self.trained}"


@dataclass(frozen=True)
class Mean:
    """The mean of figures over ``n`` seeds and their sample standard deviation (0 for one)."""

    mean: float
    spread: float
    n: int

    def told(self, digits: int = 2) -> str:
        """The mean, and the spread of more than one."""
        return f"{self.mean:.{digits}f}" + (f" ± {self.spread:.{digits}f}" if self.n > 1 else "")

    def __str__(self) -> str:
        return self.told()


def mean(values: Iterable[float]) -> Mean:
    """The mean and spread of at least one figure.

    >>> str(mean([70.0, 72.0]))
    '71.00 ± 1.41'
    """
    known = list(values)
    return Mean(fmean(known), stdev(known) if len(known) > 1 else 0.0, len(known))


def images_judged(runs: Sequence[PlannedRun]) -> str:
    """Which accuracy a study is read by: that of held-out images where every run has some, else of the test images."""
    return "holdout" if all(run.cfg.DATASET.HOLDOUT > 0 for run in runs) else "test"


def results(runs: Sequence[PlannedRun], share: float) -> list[Result]:
    """Read every run's accuracy and its epochs until ``share`` of it from its folder.

    Raises:
        UserError: a run's metrics are missing or damaged.
    """
    key = f"{images_judged(runs)}_top1"
    found = []
    for run in runs:
        epochs = history(run.folder, run.cfg.SOLVER.EPOCHS)
        top1, until = final(epochs, key), epochs_until(epochs, share, key)
        if top1 is None or until is None:
            continue  # a run whose epochs were never evaluated
        node = run.cfg.DISTILLER
        who = (run.cfg.DATASET.TYPE, run.recipe, dict(run.varied), run.role, node.TYPE, node.STUDENT)
        found.append(Result(*who, run.cfg.EXPERIMENT.SEED, top1, until))
    return found


def by_recipe(found: Iterable[Result]) -> dict[str, dict[str, list[Result]]]:
    """Results over seeds, by recipe and then by who was trained; students alone are under the empty recipe."""
    grouped: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        grouped[one.recipe][one.who].append(one)
    return {
        recipe: dict(sorted(whose.items(), key=lambda item: item[0] != "teacher")) for recipe, whose in grouped.items()
    }


def save(found: Sequence[Result], folder: Path, about: dict[str, Any]) -> list[Path]:
    """Write ``results.csv`` and ``results.json``, one row a run, and return their paths."""
    make_folder(folder)
    varied = list(dict.fromkeys(key for one in found for key in one.varied))
    plain = [field.name for field in fields(Result) if field.name != "varied"]
    rows = []
    for one in found:
        row = asdict(one)
        own = row.pop("varied")
        rows.append(row | {key: own.get(key) for key in varied})
    paths = [folder / "results.csv", folder / "results.json"]
    with open(paths[0], "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*plain, *varied])
        writer.writeheader()
        writer.writerows(
            {key: harmless(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows
        )
    paths[1].write_text(json.dumps({"about": about, "rows": rows}, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return paths


def markdown(found: Sequence[Result], share: float) -> str:
    """One row a recipe: its teacher's accuracy and epochs until a share of it, and its students' accuracies."""
    grouped = by_recipe(found)
    students = list(dict.fromkeys(who for whose in grouped.values() for who in whose if who != "teacher"))
    header = ["recipe", "teacher", f"epochs until {share:.0%} of it", *students]
    rows = [header, ["---"] + ["---:"] * (len(header) - 1)]
    for recipe, whose in grouped.items():
        teachers = whose.get("teacher", [])
        until = f"{mean(one.epochs for one in teachers)}" if teachers else ""
        cells = [str(mean(one.top1 for one in whose[who])) if who in whose else "" for who in ("teacher", *students)]
        rows.append([recipe or "no teacher", cells[0], until, *cells[1:]])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
