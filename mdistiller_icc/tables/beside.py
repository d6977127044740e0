"""Columns of accuracies, and in those for which something is published that beside them."""

from __future__ import annotations

from mdistiller_icc.tables.cells import Cell, by_column, in_column
from mdistiller_icc.tables.published import BESIDE, EPOCHS, Fact, Source, usual, without_pair
from mdistiller_icc.tables.records import Column
from mdistiller_icc.tables.report import UNPUBLISHED, Head, Shown
from mdistiller_icc.tables.text import named


class Beside:
    """Columns of accuracies, and in those for which something is published that beside them.

    Args:
        columns: pairs, or networks.
        lines: of the table.
        published: whether published values are wanted at all.
    """

    def __init__(self, columns: list[Column], lines: list[list[Cell]], published: bool) -> None:
        self.columns = columns
        self.cited = {c for c in columns if published and any(in_column(line, c).published_in(c) for line in lines)}
        self.heads: list[Head] = []
        for c in columns:
            self.heads += [Head(c, "ours"), Head(c, "published")] if c in self.cited else [Head(c)]
        self._references: dict[Source, str] = {}

    def places(self, line: list[Cell], n: int) -> list[Shown | None]:
        """A line's accuracies and what is published; ``n`` is how many runs most cells have."""
        found = by_column(line)
        places: list[Shown | None] = []
        for c in self.columns:
            places.append(accuracy(found.get(c), n))
            if c in self.cited:
                fact = in_column(line, c).published_in(c)
                places.append(_cited(fact, self._references) if fact else UNPUBLISHED if c in found else None)
        return places

    def notes(self) -> list[str]:
        """What the published values are, and the sources of those that were cited."""
        sources = sorted(self._references.items(), key=lambda item: item[1])
        return [
            "Published values are of the same data and protocol, as far as their sources tell.",
            *(f"[{mark}] {source}." for source, mark in sources),
        ]


def accuracy(cell: Cell | None, n: int) -> Shown | None:
    """A cell's mean and deviation, and its number of runs unless that is ``n``."""
    if cell is None:
        return None
    summary = cell.summary
    spread = "" if summary.std is None else f" ± {summary.std:.2f}"
    return Shown(f"{summary.mean:.2f}", summary.mean, spread, summary.n if summary.n != n else None, cell.rank)


def _cited(fact: Fact, references: dict[Source, str]) -> Shown:
    """A published value; its source is numbered when it is first cited: A1, A2, B1."""
    source = fact.source
    if source not in references:
        references[source] = f"{source.tier}{1 + sum(other.tier == source.tier for other in references)}"
    reference = references[source]
    return Shown(f"{fact.value:.2f}", fact.value, f" [{reference}]", source=source, reference=reference)


def loose(cell: Cell) -> list[str]:
    """What is published for a table's data set without a pair."""
    loose = []
    for fact in without_pair(cell.dataset):
        if fact.metric in (cell.metric, f"delta_{cell.metric}"):
            points = fact.metric != cell.metric
            value = f"{fact.value:+.2f} points" if points else f"{fact.value:.2f}"
            loose.append(f"{fact.method} {value} [{fact.source.tier}]")
    return [f"Published without naming a pair, hence in no cell: {'; '.join(loose)}."] if loose else []


def otherwise_published(several: list[list[Cell]], pairs: list[Column]) -> list[str]:
    """What is published for the lines of a table but stands in none of its cells, by the reason."""
    epochs: dict[str, dict[str, None]] = {}
    teachers: dict[str, None] = {}
    protocols: dict[str, dict[str, None]] = {}
    for cell, pair in ((in_column(line, pair), pair) for line in several for pair in pairs):
        for fact in cell.known_in(pair) if not cell.published_in(pair) else []:
            of = fact.benchmark
            if cell.taught_otherwise():
                teachers[named(fact.method, "")] = None
            elif of is not None and all(of.holds(*each) for each in cell.measured()):
                epochs.setdefault(fact.source.epoch, {})[named(fact.method, "")] = None
            elif cell.entry == "distilled":
                protocols.setdefault(str(of or fact.source.protocol), {})[named(fact.method, "")] = None
    notes = []
    for epoch, methods in epochs.items():
        way = next((f", as --select {select} shows them" for select in BESIDE if epoch in BESIDE[select]), "")
        notes.append(f"Published values of {', '.join(methods)} are of the {EPOCHS[epoch]}{way}.")
    if teachers:
        of = usual(several[0][0].dataset)
        notes.append(f"Published values of {', '.join(teachers)} are of teachers of {of}, so none stands beside these.")
    for protocol, methods in protocols.items():
        notes.append(f"Published values of {', '.join(methods)} are of {protocol}, so none stands beside these.")
    return notes
