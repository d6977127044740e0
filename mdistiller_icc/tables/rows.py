"""Sort runs into rows and cells, so that no cell holds runs of different settings or of different teachers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from mdistiller_icc.tables.published import pair_order
from mdistiller_icc.tables.records import TEACHER_KINDS, LeftOut, Run
from mdistiller_icc.tables.settings import Settings, describe, spell, varied
from mdistiller_icc.tables.statistics import Summary, summarise

METHODS = (
    *("KD", "FITNET", "AT", "SP", "CC", "VID", "RKD", "PKT", "AB", "FT", "FSP", "NST", "CRD", "OFD", "KDSVD"),
    *("REVIEWKD", "DKD", "DIST", "CTKD", "MLKD", "DOT", "CKD", "BICKD", "PCKD", "PCKD_WITHOUT_KD", "ICCKD"),
)


class Pair(NamedTuple):
    teacher: str
    student: str


Column = Pair | str
"""A teacher-student pair, or the architecture of a network trained without a teacher."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The runs of one cell, one per seed, with their accuracies in the same order."""

    runs: tuple[Run, ...]
    values: tuple[float, ...]

    @property
    def summary(self) -> Summary:
        return summarise(self.values)

    def by_seed(self) -> dict[int, float]:
        """Accuracy by the run's seed, averaged where one seed learnt from teachers of several seeds."""
        values = defaultdict(list)
        for run, value in zip(self.runs, self.values, strict=True):
            values[run.seed].append(value)
        return {seed: summarise(many).mean for seed, many in values.items()}


@dataclass(slots=True)
class Row:
    """A method with a kind of teacher; ``settings`` and ``recipe`` tell rows apart that differ in nothing else.

    ``settings`` are the method's, ``recipe`` the teacher's; ``uneven`` names settings that differ by column.
    """

    method: str
    kind: str
    settings: str = ""
    recipe: str = ""
    recipe_protocol: Settings = ()
    uneven: tuple[str, ...] = ()
    cells: dict[Column, Cell] = field(default_factory=dict)


class Recipe(NamedTuple):
    settings: Settings
    protocol: Settings


Recipes = dict[str, Recipe]
"""How a teacher was made, by the digest of its checkpoint."""


class Assembler:
    """Makes rows of runs; holds what it needs beside them."""

    def __init__(self, metric: str, selection: str, recipes: Recipes, left_out: list[LeftOut]) -> None:
        self.metric, self.selection, self.recipes, self.left_out = metric, selection, recipes, left_out

    def __call__(self, runs: list[Run], column: Callable[[Run], Column]) -> list[Row]:
        """Rows in the order of the literature; runs of different settings never share a cell."""
        variants, split_methods = self._variants(runs, column)
        recipes, split_kinds = self._teacher_recipes(runs, column)
        members: dict[tuple, dict[Column, list[Run]]] = defaultdict(lambda: defaultdict(list))
        for run in runs:
            variant = run.settings if run.method in split_methods else ()
            recipe = recipes[run.teacher] if _kind(run) in split_kinds else ()
            members[run.method, variant, _kind(run), recipe][column(run)].append(run)

        rows = []
        for (method, variant, kind, recipe), columns in members.items():
            row = Row(method, kind)
            if method in split_methods:
                row.settings = spell(variant, varied(variants[method])) or "no settings"
            elif len(variants[method]) > 1:
                row.uneven = tuple(varied(variants[method]))
            if kind in split_kinds:
                others = [r for t, r in recipes.items() if t is not None and t.kind == kind]
                row.recipe, row.recipe_protocol = _spell_recipe(recipe, others)
            row.cells = {where: self._cell(many) for where, many in columns.items()}
            rows.append(row)
        return sorted(rows, key=_row_order)

    def _cell(self, runs: list[Run]) -> Cell:
        """One run per seed of student and teacher: the one finished last; earlier ones are left out, with a note."""
        kept: dict[Hashable, Run] = {}
        for run in sorted(runs, key=lambda run: (run.finished, run.folder)):
            key = (run.seed, run.teacher and run.teacher.seed)
            if key in kept:
                reason = f"repeated with the same settings and seed {run.seed} by {run.folder}, which counts instead"
                self.left_out.append(LeftOut(kept[key].folder, reason))
            kept[key] = run
        ordered = tuple(sorted(kept.values(), key=lambda run: (run.seed, run.folder)))
        return Cell(ordered, tuple(run.accuracy[self.metric][self.selection] for run in ordered))

    def _variants(self, runs: list[Run], column: Callable[[Run], Column]) -> tuple[dict[str, set[Settings]], set[str]]:
        """Each method's settings, and the methods that have several of them in one column."""
        variants: dict[str, set[Settings]] = defaultdict(set)
        in_column: dict[Hashable, set[Settings]] = defaultdict(set)
        for run in runs:
            variants[run.method].add(run.settings)
            in_column[run.method, column(run)].add(run.settings)
        return variants, {method for (method, _), several in in_column.items() if len(several) > 1}

    def _teacher_recipes(self, runs: list[Run], column: Callable[[Run], Column]) -> tuple[dict, set[str]]:
        """What is known of how each teacher was made, and the kinds of which one column holds several makes.

        A teacher is told by its checkpoint's digest. Where the run that trained it is at hand its make is
        that run's settings and protocol. Teachers of unknown make count as one make unless two of them
        share a seed, since only retraining or other settings can give one seed two checkpoints.
        """
        recipes = {run.teacher: self.recipes.get(run.teacher.digest, run.teacher.digest) for run in runs if run.teacher}
        in_column: dict[Hashable, set] = defaultdict(set)
        for run in runs:
            if run.teacher:
                in_column[run.teacher.kind, column(run)].add(run.teacher)
        split = set()
        for (kind, _), teachers in in_column.items():
            known = {recipes[t] for t in teachers if isinstance(recipes[t], Recipe)}
            unknown = {(t.seed, t.digest) for t in teachers if not isinstance(recipes[t], Recipe)}
            everyone = {(t.seed, t.digest) for t in teachers}
            clash = any(seed == other and digest != another for seed, digest in unknown for other, another in everyone)
            if len(known) > 1 or clash:
                split.add(kind)
        return recipes, split


def _kind(run: Run) -> str:
    if run.teacher is not None:
        return run.teacher.kind
    return "icc" if run.method == "ICC" else "vanilla"


def _spell_recipe(recipe: Recipe | str | None, others: list[Recipe | str | None]) -> tuple[str, Settings]:
    if not isinstance(recipe, Recipe):
        return (recipe.removeprefix("sha256:")[:8] if recipe else "unknown checkpoint"), ()
    known = [other for other in others if isinstance(other, Recipe)]
    settings = spell(recipe.settings, varied(r.settings for r in known))
    protocol = describe(recipe.protocol, varied(r.protocol for r in known))
    return "; ".join(filter(None, (settings, protocol))), recipe.protocol


def in_order(rows: list[Row]) -> list:
    """Columns in the literature's order, then by name with numbers as numbers."""
    known = pair_order()
    columns = {column: " ".join(column) if isinstance(column, Pair) else column for row in rows for column in row.cells}
    return sorted(columns, key=lambda column: (known.get(column, len(known)), natural(columns[column])))


def _row_order(row: Row) -> tuple:
    kind = TEACHER_KINDS.index(row.kind)
    if row.method in METHODS:
        return METHODS.index(row.method), "", natural(row.settings), kind, natural(row.recipe)
    name = "" if row.method in ("NONE", "ICC") else row.method
    return len(METHODS), name, natural(row.settings), kind, natural(row.recipe)


def natural(text: str) -> list[tuple[int, float, str]]:
    """A sort key that puts resnet8 before resnet20 and 0.05 before 0.5."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [(0, float(part), "") if i % 2 else (1, 0.0, part.lower()) for i, part in enumerate(parts)]
