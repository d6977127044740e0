"""The cells of all tables as one list of plain rows: what the CSV holds, and what every other format arranges."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from mdistiller_icc.tables.published import Fact, pair_order, published, published_alone, usual
from mdistiller_icc.tables.records import Column, Record
from mdistiller_icc.tables.settings import Settings
from mdistiller_icc.tables.statistics import Difference, Summary

PLAIN = ("vanilla", "pretrained")
"""Kinds of teachers an ICC teacher is compared with, the first at hand; published values speak of them."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What the ICC teacher adds to the plain one, paired on the seed, or why that cannot be said.

    Attributes:
        over: the kind of the plain teacher.
        difference: in points; None where it cannot be given.
        note: in what else the two teachers' training differed, as far as it is known; without a difference, why.
        by_seed: the difference by the run's seed.
    """

    over: str
    difference: Difference | None
    note: str
    by_seed: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One accuracy of the tables, with all that is known about it.

    Attributes:
        entry: ``distilled``, ``teacher used`` (as its students loaded it), ``student alone`` or ``network``.
        line: tells the lines of the entry's table apart.
        images: the numbers of classes, training and test images.
        settings: the method's, in words, where they tell lines apart that differ in nothing else.
        kind: of the teacher; of the network itself where it had none.
        recipe: how the teacher was made, in words, where that tells lines apart.
        trained_under: the protocol of the teacher's training, where ``recipe`` speaks of it.
        trainings: images and protocol of its teachers' training, of those teachers whose runs are at hand.
        records: the runs, one per seed; none for ``teacher used``.
        values: their accuracies, in percent.
        rank: ``best`` or ``second`` of its column's distilled students.
    """

    entry: str
    line: int
    dataset: str
    images: tuple[int | None, ...]
    protocol: Settings
    metric: str
    select: str
    method: str
    settings: str = ""
    kind: str
    recipe: str = ""
    trained_under: Settings = ()
    trainings: tuple[tuple[tuple[int | None, ...], Settings], ...] = ()
    column: Column
    summary: Summary
    records: tuple[Record, ...] = ()
    values: tuple[float, ...] = ()
    rank: str | None = None
    gain: Gain | None = None
    published: Fact | None = None

    def by_seed(self) -> dict[int, float]:
        """Accuracy by the run's seed: its mean where one seed learnt from teachers of several seeds."""
        values = defaultdict(list)
        for record, value in zip(self.records, self.values, strict=True):
            values[record.seed].append(value)
        return {seed: sum(many) / len(many) for seed, many in values.items()}

    def known_in(self, column: Column) -> list[Fact]:
        """All that is published for this cell's line in a column, a pair or a network, whatever the protocol."""
        if self.kind not in PLAIN:
            return []
        if len(column) == 1:
            return published_alone(self.dataset, column[0], self.metric)
        teacher, student = column
        method = {"teacher used": "teacher", "student alone": "student"}.get(self.entry, self.method)
        return published(self.dataset, teacher, student, method, self.metric)

    def published_in(self, column: Column) -> Fact | None:
        """What is published for it on the same data, under the same protocol and of the same choice of an epoch."""
        if self.taught_otherwise():
            return None
        select = "last" if self.entry == "teacher used" else self.select  # a student learns from the last one
        of = self.measured()
        return next((fact for fact in self.known_in(column) if all(fact.fits(*each, select) for each in of)), None)

    def measured(self) -> tuple[tuple[tuple[int | None, ...], Settings], ...]:
        """Images and protocol of what it is the accuracy of: of the runs, or of the teachers used as far as known."""
        own = ((self.images, self.protocol),)
        return self.trainings or own if self.entry == "teacher used" else own

    def taught_otherwise(self) -> bool:
        """Whether these are students of a teacher known to be trained otherwise than those of published students."""
        of = usual(self.dataset)
        return self.entry == "distilled" and of is not None and not all(of.holds(*each) for each in self.trainings)


def lines(cells: Iterable[Cell]) -> list[list[Cell]]:
    """The lines of one table, from cells in its order."""
    return [[*line] for _, line in groupby(cells, key=lambda cell: cell.line)]


def by_column(line: Iterable[Cell]) -> dict[Column, Cell]:
    """The cells of one line, each under its column."""
    return {cell.column: cell for cell in line}


def in_column(line: list[Cell], column: Column) -> Cell:
    """The cell that a line has in a column; where it has none its first, which tells the line."""
    return by_column(line).get(column, line[0])


def columns(cells: Iterable[Cell]) -> list[Column]:
    """Their columns in the literature's order, then by name with numbers as numbers."""
    known = pair_order()
    found = dict.fromkeys(cell.column for cell in cells)
    return sorted(found, key=lambda column: (known.get(column, len(known)), natural(" ".join(column))))


def natural(text: str) -> list[tuple[int, float, str]]:
    """A sort key that puts resnet8 before resnet20 and 0.05 before 0.5."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [(0, float(part), "") if i % 2 else (1, 0.0, part.lower()) for i, part in enumerate(parts)]
