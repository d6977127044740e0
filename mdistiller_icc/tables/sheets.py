"""What a table shows, before any format: sheets of lines of cells, with titles, captions and notes."""

from __future__ import annotations

from dataclasses import dataclass, field

from mdistiller_icc.tables.grouping import Group
from mdistiller_icc.tables.published import Fact
from mdistiller_icc.tables.rows import Column
from mdistiller_icc.tables.statistics import Difference, Summary


@dataclass(slots=True)
class Accuracy:
    """Mean and spread; ``mark`` is ``best``, ``second`` or empty; ``counted``: n is said in the cell."""

    summary: Summary
    mark: str = ""
    counted: bool = False


@dataclass(slots=True)
class Points:
    """A gain in points."""

    difference: Difference
    counted: bool = False


@dataclass(slots=True)
class Published:
    """A published value and the mark of the note that tells its source."""

    fact: Fact
    reference: str


@dataclass(slots=True)
class Unpublished:
    """No published value is known for this cell of ours."""

    text = "not published here"


Shown = Accuracy | Points | Published | Unpublished | None
"""What a cell shows; None is a blank."""


@dataclass(slots=True)
class Head:
    """A column of values: a pair or an architecture, and which of its values where there are two."""

    column: Column
    part: str = ""


@dataclass(slots=True)
class Line:
    """A row of a sheet; ``first``: a new block begins, so formats may rule it off."""

    labels: list[str]
    cells: list[Shown]
    first: bool = False


@dataclass(slots=True)
class Sheet:
    """One table: a title, a sentence that says how to read it, its columns and lines, and the notes below.

    ``keys`` head the labels of the lines; ``marks`` are the marks that stand in the cells.
    """

    kind: str
    title: str
    caption: str
    keys: list[str]
    heads: list[Head]
    lines: list[Line]
    marks: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Section:
    """A group's sheets under a heading that states the data set and the protocol."""

    group: Group
    heading: str
    protocol: str
    sheets: list[Sheet]
