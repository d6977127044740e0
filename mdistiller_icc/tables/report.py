"""What the formats draw: a report of sections of sheets, whose lines say what stands in every place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mdistiller_icc.tables.cells import Cell
from mdistiller_icc.tables.published import Source
from mdistiller_icc.tables.records import Column, LeftOut
from mdistiller_icc.tables.statistics import Difference


@dataclass(frozen=True, slots=True)
class Shown:
    """What stands in one place of a table: ``97.20 ± 0.31 (2)``, ``+0.42 [−0.10, +0.94]`` or ``70.66 [A1]``.

    Attributes:
        text: the value, or words in its place.
        value: what the place is sorted by.
        spread: the rest of the text: the deviation, the interval or the reference.
        count: the number of runs, where it is not the one that the caption says.
        rank: ``best`` or ``second`` of its column.
        gain: where it is a gain.
        source: where it is a published value, whose ``reference`` stands in the notes.
    """

    text: str
    value: float | None = None
    spread: str = ""
    count: int | None = None
    rank: str | None = None
    gain: Difference | None = None
    source: Source | None = None
    reference: str = ""


UNPUBLISHED = Shown("not published here")
"""Stands where we have an accuracy and no published one is known."""


@dataclass(frozen=True, slots=True)
class Head:
    """A column of values: what it is for and, where there are ``ours`` and ``published`` values, which of them."""

    column: Column
    part: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a sheet, None for blanks; ``first``: a new block begins, so formats may rule it off."""

    labels: list[str]
    places: list[Shown | None]
    first: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table: a title, a sentence that says how to read it, its columns and lines, and the notes below.

    ``kind`` is ``students``, ``gains`` or ``networks``; ``keys`` head the labels of the lines. ``of`` is the pair or
    network that all of it is of, where its columns are figures instead.
    """

    kind: str
    title: str
    caption: str
    keys: list[str]
    heads: list[Head]
    lines: list[Line]
    notes: list[str]
    of: Column = ()

    def shown(self) -> Iterator[Shown]:
        """All that is not blank."""
        return (place for line in self.lines for place in line.places if place)

    def legend(self, marked: Callable[[str, str | None], str]) -> list[str]:
        """The note that says how the format marks the best: ``marked(text, rank)``."""
        ranks = {place.rank for place in self.shown()}
        names = [marked("Best", "best")] + [marked("second best", "second")] * ("second" in ranks)
        return [f"{' and '.join(names)} distilled student of each column."] if "best" in ranks else []

    def parts(self, widths: Sequence[int], room: int | None) -> list[list[int]]:
        """The columns of each table where one would be too wide, parted evenly; ours and published stay together.

        Args:
            widths: how much room each column takes.
            room: how much there is; None for any amount.
        """
        parts = self._filled(widths, room)
        for less in range((room or 1) - 1, 0, -1):
            even = self._filled(widths, less)
            if len(even) > len(parts):
                break
            parts = even
        return parts

    def _filled(self, widths: Sequence[int], room: int | None) -> list[list[int]]:
        """The columns of each table where every table takes as many as it can."""
        parts: list[list[int]] = [[]]
        for column in dict.fromkeys(head.column for head in self.heads):
            more = [i for i, head in enumerate(self.heads) if head.column == column]
            if parts[-1] and room is not None and sum(widths[i] for i in parts[-1] + more) > room:
                parts.append([])
            parts[-1] += more
        return parts


@dataclass(frozen=True, slots=True)
class Section:
    """What was run on one data set under one protocol: its cells, and the sheets that arrange them."""

    heading: str
    protocol: str
    cells: list[Cell]
    sheets: list[Sheet]


@dataclass(frozen=True, slots=True)
class Report:
    """The sections to show, the runs that are in none of them, and the pictures that studies drew.

    ``runs`` counts those shown; ``width`` is that of a line of text, None for any.
    """

    sections: list[Section]
    left_out: list[LeftOut]
    pictures: list[str]
    metric: str
    select: str
    runs: int
    width: int | None = None
