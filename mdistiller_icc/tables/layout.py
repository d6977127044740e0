"""Arrange cells as sheets: methods down, teacher-student pairs across, what is published beside it, notes below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from mdistiller_icc.tables.cells import Cell, by_column, columns, lines
from mdistiller_icc.tables.metrics import METRICS
from mdistiller_icc.tables.published import BESIDE, EPOCHS, Fact, Source, without_pair
from mdistiller_icc.tables.records import KINDS, Column
from mdistiller_icc.tables.report import UNPUBLISHED, Head, Line, Section, Sheet, Shown
from mdistiller_icc.tables.settings import Settings, describe, varied
from mdistiller_icc.tables.statistics import Difference
from mdistiller_icc.tables.text import CHOSEN, headed, named, signed, teacher_named

LEAKS = "The best test epoch lets the test set choose, which flatters every row."
LOADED = "Teacher rows: the checkpoints that the students learnt from, as they were loaded."


def sections(cells: list[Cell], published: bool = True) -> list[Section]:
    """One section per data set and protocol, with a sheet each for students, gains and networks without a teacher.

    Args:
        cells: in their order.
        published: show what is published beside ours.
    """
    made = []
    groups = [list(group) for _, group in groupby(cells, key=lambda cell: (cell.dataset, cell.images, cell.protocol))]
    for group in groups:
        dataset = group[0].dataset
        apart = _apart(group[0], [other[0] for other in groups if other[0].dataset == dataset])
        by_entry = {entry: [*several] for entry, several in groupby(group, key=lambda cell: cell.entry)}
        distilled, networks = by_entry.get("distilled", []), by_entry.get("network", [])
        sheets = [_students(by_entry, published)] if distilled else []
        sheets += [_gains(distilled)] if any(_differences(distilled)) else []
        sheets += [_networks(networks, not distilled, published)] if networks else []
        hosts = sorted({record.host for cell in group for record in cell.records})
        if len(hosts) > 1:
            sheets[-1].notes.append(f"The runs come from several hosts: {', '.join(hosts)}.")
        made.append(Section(f"{dataset}: {apart}" if apart else dataset, _protocol(group[0]), group, sheets))
    return made


def _apart(cell: Cell, rivals: list[Cell]) -> str:
    """What tells a cell's protocol from those of the others on its data set, in words."""
    words = describe(cell.protocol, varied(rival.protocol for rival in rivals))
    images = f"{cell.images[1]} training images of {cell.images[0]} classes"
    return ", ".join(filter(None, (words, images if len({rival.images for rival in rivals}) > 1 else "")))


def _protocol(cell: Cell) -> str:
    classes, train, test = cell.images
    counts = [(train, "training images"), (test, "test images"), (classes, "classes")]
    images = ", ".join(f"{value:,} {name}" for value, name in counts if value is not None)
    return "; ".join(filter(None, (describe(cell.protocol), images)))


def _students(by_entry: Mapping[str, list[Cell]], published: bool) -> Sheet:
    """Methods with each kind of teacher by pair, published values beside ours."""
    teachers, alone, distilled = (by_entry.get(entry, []) for entry in ("teacher used", "student alone", "distilled"))
    pairs = columns(distilled)
    first = distilled[0]
    above_below = [line[0] for line in [*lines(teachers), *lines(alone), *lines(distilled)]]
    known = {pair for pair in pairs if any(line.known_in(pair) for line in above_below)}
    beside = _Beside(pairs, above_below, published)
    once = {(cell.line, cell.column[1:]): cell for cell in alone}  # which stands beside each of its teachers
    n, most = _common(cell.summary.n for cell in [*distilled, *once.values()])

    rows: list[Line] = []
    above = ""
    for line in [*lines(teachers), *lines(alone), *lines(distilled)]:
        block = named(line[0].method, line[0].settings) if line[0].entry == "distilled" else line[0].entry
        rows.append(Line(labels(line[0]), beside.places(line, n), block != above))
        above = block

    notes = ([LEAKS] if first.select == "best" else []) + ([LOADED] if teachers else [])
    notes += _uneven(distilled, "pair")
    if beside.cited:
        notes += [*beside.notes(), *_loose(first)]
    if known and published:
        notes += _otherwise_published(above_below, pairs)
    if not any(_differences(distilled)):
        notes += _gainless(distilled)
    caption = _caption(first, most, n, rows)
    return Sheet("students", "Students", caption, ["Method", "Teacher"], beside.heads, rows, notes)


def labels(cell: Cell) -> list[str]:
    """The method of a cell's line, and its teacher."""
    if cell.entry == "student alone":
        return [named("Student alone", cell.settings), "–"]
    method = "Teacher" if cell.entry == "teacher used" else named(cell.method, cell.settings)
    return [method, teacher_named(cell.kind, cell.recipe)]


def _gains(distilled: list[Cell]) -> Sheet:
    """What every method gains from the ICC teacher, by pair."""
    differences = [*_differences(distilled)]
    n, most = _common(difference.n for difference in differences)
    pairs = columns(distilled)
    rows = []
    for line in _with_difference(distilled):
        found, (cell, gain) = by_column(line), next((cell, cell.gain) for cell in line if cell.gain)
        labels = [named(cell.method, cell.settings), f"{teacher_named('icc', cell.recipe)} − {KINDS[gain.over]}"]
        rows.append(Line(labels, [_points(found.get(pair), n) for pair in pairs], True))
    interval = "with the 95 % interval of a paired t test, " if most > 1 else ""
    caption = f"ICC teacher minus plain teacher, in points, {interval}paired on the seed{_times(n, rows)}."
    notes = _unlike(distilled) + _gainless(distilled) + _gain_notes(differences)
    heads = [Head(pair) for pair in pairs]
    return Sheet("gains", "Gain of the ICC teacher", caption, ["Method", "Teachers"], heads, rows, notes)


def _networks(networks: list[Cell], alone: bool, published: bool) -> Sheet:
    """Teachers, and other networks trained without one, by recipe, published values beside ours."""
    n, most = _common(cell.summary.n for cell in networks)
    beside = _Beside(columns(networks), [line[0] for line in lines(networks)], published)
    rows: list[Line] = []
    for line in lines(networks):
        label = named(teacher_named(line[0].kind, ""), line[0].settings)
        rows.append(Line([label], beside.places(line, n), not rows))
    for i, line in enumerate(_with_difference(networks)):
        found, label = by_column(line), named("ICC − plain", line[0].settings)
        ours = [_points(found.get(h.column), n) if h.part != "published" else None for h in beside.heads]
        rows.append(Line([label], ours, i == 0))
    roles = {record.role for cell in networks for record in cell.records}
    title = "Teachers" if roles == {"teacher"} else "Trained without a teacher"
    notes = [LEAKS] if alone and networks[0].select == "best" else []
    notes += _uneven(networks, "network") + (beside.notes() if beside.cited else [])
    notes += _gainless(networks) + _gain_notes([*_differences(networks)])
    return Sheet("networks", title, _caption(networks[0], most, n, rows), ["Recipe"], beside.heads, rows, notes)


class _Beside:
    """Columns of accuracies, and in those for which something is published that beside them.

    Args:
        columns: pairs, or networks.
        lines: a cell of each line.
        published: whether published values are wanted at all.
    """

    def __init__(self, columns: list[Column], lines: list[Cell], published: bool) -> None:
        self.columns = columns
        self.cited = {c for c in columns if published and any(line.published_in(c) for line in lines)}
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
                fact = line[0].published_in(c)
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


def _points(cell: Cell | None, n: int) -> Shown | None:
    difference = cell and cell.gain and cell.gain.difference
    if not difference:
        return None
    spread = " [{}, {}]".format(*map(signed, difference.interval)) if difference.interval else ""
    count = difference.n if difference.n != n else None
    return Shown(signed(difference.mean), difference.mean, spread, count, gain=difference)


def _cited(fact: Fact, references: dict[Source, str]) -> Shown:
    """A published value; its source is numbered when it is first cited: A1, A2, B1."""
    source = fact.source
    if source not in references:
        references[source] = f"{source.tier}{1 + sum(other.tier == source.tier for other in references)}"
    reference = references[source]
    return Shown(f"{fact.value:.2f}", fact.value, f" [{reference}]", source=source, reference=reference)


def _with_difference(cells: Iterable[Cell]) -> Iterator[list[Cell]]:
    """The lines of a table that have a gain."""
    return (line for line in lines(cells) if any(_differences(line)))


def _differences(cells: Iterable[Cell]) -> Iterator[Difference]:
    return (cell.gain.difference for cell in cells if cell.gain and cell.gain.difference)


def _caption(cell: Cell, most: int, n: int, rows: list[Line]) -> str:
    spread = "mean ± standard deviation over seeds" if most > 1 else "one run per cell, so no spread"
    gains = any(place and place.gain for row in rows for place in row.places)
    interval = "; gains in points with their 95 % interval, paired on the seed" if gains and most > 1 else ""
    return f"Test {METRICS[cell.metric]} in %, {CHOSEN[cell.select]}; {spread}{interval}{_times(n, rows)}."


def _times(n: int, rows: list[Line]) -> str:
    counted = any(place and place.count for row in rows for place in row.places)
    return f" (n = {n}{', elsewhere as in brackets' if counted else ''})"


def _common(counts: Iterable[int]) -> tuple[int, int]:
    """The number of runs that most cells have, and the largest number."""
    found = Counter(counts)
    return max(found, key=lambda n: (found[n], n)), max(found)


def _uneven(cells: list[Cell], column: str) -> list[str]:
    """The methods whose settings go with the column, as far as no column has several of them."""
    settings: dict[str, list[Settings]] = {}
    for cell in cells:
        if not cell.settings:
            settings.setdefault(cell.method, []).append(cell.records[0].settings)
    uneven = {method: ", ".join(varied(several)) for method, several in settings.items()}
    return [f"{named(m, '')}: the settings {keys} differ by {column}." for m, keys in uneven.items() if keys]


def _loose(cell: Cell) -> list[str]:
    """What is published for a table's data set without a pair."""
    loose = []
    for fact in without_pair(cell.dataset):
        if fact.metric in (cell.metric, f"delta_{cell.metric}"):
            points = fact.metric != cell.metric
            value = f"{fact.value:+.2f} points" if points else f"{fact.value:.2f}"
            loose.append(f"{fact.method} {value} [{fact.source.tier}]")
    return [f"Published without naming a pair, hence in no cell: {'; '.join(loose)}."] if loose else []


def _otherwise_published(several: list[Cell], pairs: list[Column]) -> list[str]:
    """What is published for the lines of a table but stands in none of its cells, by the reason."""
    epochs: dict[str, dict[str, None]] = {}
    protocols: dict[str, dict[str, None]] = {}
    for cell in several:
        for fact in (fact for pair in pairs if not cell.published_in(pair) for fact in cell.known_in(pair)):
            of = fact.benchmark
            if of is not None and of.holds(cell.images, cell.protocol):
                epochs.setdefault(fact.source.epoch, {})[named(fact.method, "")] = None
            elif cell.entry == "distilled":
                protocols.setdefault(str(of or fact.source.protocol), {})[named(fact.method, "")] = None
    notes = []
    for epoch, methods in epochs.items():
        way = next((f", as --select {select} shows them" for select in BESIDE if epoch in BESIDE[select]), "")
        notes.append(f"Published values of {', '.join(methods)} are of the {EPOCHS[epoch]}{way}.")
    for protocol, methods in protocols.items():
        notes.append(f"Published values of {', '.join(methods)} are of {protocol}, so none stands beside these.")
    return notes


def _unlike(distilled: list[Cell]) -> list[str]:
    """Where a gain is not ICC's alone: one note for all columns of which the same is to be said."""
    pairs: dict[str, dict[Column, None]] = {}
    for cell in distilled:
        if cell.gain and cell.gain.difference and cell.gain.note:
            pairs.setdefault(cell.gain.note, {})[cell.column] = None
    return [f"{', '.join(map(headed, p))}: {said}, so the gain is not ICC's alone." for said, p in pairs.items()]


def _gainless(cells: list[Cell]) -> list[str]:
    """The rows, and the columns of rows, that are blank or missing among the gains."""
    notes = []
    for line in lines(cells):
        missing = [(cell, cell.gain.note) for cell in line if cell.gain and not cell.gain.difference]
        if missing:
            cell, reason = missing[0]
            method = named(cell.method, cell.settings)
            where = [f"{method} with {teacher_named('icc', cell.recipe)}" if cell.recipe else method]
            where += map(headed, columns(cell for cell, _ in missing)) if any(_differences(line)) else []
            notes.append(f"{', '.join(where)}: {reason}.")
    return notes


def _gain_notes(several: list[Difference]) -> list[str]:
    notes = []
    if intervals := sum(gain.interval is not None for gain in several):
        notes.append("An interval that contains 0 means that these seeds do not show a difference.")
        notes.append(_by_chance(intervals))
    if any(gain.flat for gain in several):
        notes.append("An interval without width comes from equal differences; it does not mean certainty.")
    if any(gain.interval is None for gain in several):
        notes.append("With a single seed (n < 2) there is no interval.")
    return notes


def _by_chance(intervals: int) -> str:
    """How many of the 95 % intervals to expect beside what they estimate, whatever ICC does."""
    if intervals == 1:
        return "1 interval of 95 % is shown; 1 in 20 such intervals is expected to miss by chance alone."
    missing = f"{round(intervals / 20, 2 if intervals < 20 else 1):g}"
    shown = f"{intervals} intervals of 95 % are shown"
    return f"{shown}; of so many, about {missing} are expected to miss by chance alone."
