"""Arrange cells as sheets: methods down, teacher-student pairs across, what is published beside it, notes below."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

from mdistiller_icc.tables.beside import Beside, loose, otherwise_published
from mdistiller_icc.tables.cells import Cell, by_column, columns, lines
from mdistiller_icc.tables.counts import common, times
from mdistiller_icc.tables.gain_sheet import differences, gain_notes, gain_of, gain_sheet, gainless, with_difference
from mdistiller_icc.tables.metrics import METRICS
from mdistiller_icc.tables.report import Line, Section, Sheet
from mdistiller_icc.tables.settings import Settings, describe, varied
from mdistiller_icc.tables.text import CHOSEN, named, teacher_named

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
        sheets += [gain_sheet(distilled)] if any(differences(distilled)) else []
        sheets += [_networks(networks, not distilled, published)] if networks else []
        hosts = sorted({record.host for cell in group for record in cell.records})
        if len(hosts) > 1:
            sheets[-1].notes.append(f"The runs come from several hosts: {', '.join(hosts)}.")
        made.append(Section(f"{dataset}: {apart}" if apart else dataset, _protocol(group[0]), group, sheets))
    return made


def _apart(cell: Cell, rivals: list[Cell]) -> str:
    """What tells a cell's protocol from those of the others on its data set, in words."""
    words = describe(cell.protocol, varied(rival.protocol for rival in rivals))
    counts = [{rival.images[i] for rival in rivals} for i in range(len(cell.images))]
    images = _images(tuple(n if len(counts[i]) > 1 else None for i, n in enumerate(cell.images)))
    return ", ".join(filter(None, (words, images)))


def _protocol(cell: Cell) -> str:
    return "; ".join(filter(None, (describe(cell.protocol), _images(cell.images))))


def _images(images: tuple[int | None, ...]) -> str:
    classes, train, test = images
    counts = [(train, "training images"), (test, "test images"), (classes, "classes")]
    return ", ".join(f"{n:,} {name}" for n, name in counts if n is not None)


def _students(by_entry: Mapping[str, list[Cell]], published: bool) -> Sheet:
    """Methods with each kind of teacher by pair, published values beside ours."""
    teachers, alone, distilled = (by_entry.get(entry, []) for entry in ("teacher used", "student alone", "distilled"))
    pairs = columns(distilled)
    first = distilled[0]
    above_below = [*lines(teachers), *lines(alone), *lines(distilled)]
    known = {pair for pair in pairs if any(line[0].known_in(pair) for line in above_below)}
    beside = Beside(pairs, above_below, published)
    once = {(cell.line, cell.column[1:]): cell for cell in alone}  # which stands beside each of its teachers
    n, most = common(cell.summary.n for cell in [*distilled, *once.values()])

    rows: list[Line] = []
    above = ""
    for line in above_below:
        block = named(line[0].method, line[0].settings) if line[0].entry == "distilled" else line[0].entry
        rows.append(Line(labels(line[0]), beside.places(line, n), block != above))
        above = block

    notes = ([LEAKS] if first.select == "best" else []) + ([LOADED] if teachers else [])
    notes += _uneven(distilled, "pair")
    if beside.cited:
        notes += [*beside.notes(), *loose(first)]
    if known and published:
        notes += otherwise_published(above_below, pairs)
    if not any(differences(distilled)):
        notes += gainless(distilled)
    caption = _caption(first, most, n, rows)
    return Sheet("students", "Students", caption, ["Method", "Teacher"], beside.heads, rows, notes)


def labels(cell: Cell) -> list[str]:
    """The method of a cell's line, and its teacher."""
    if cell.entry == "student alone":
        return [named("Student alone", cell.settings), "–"]
    method = "Teacher" if cell.entry == "teacher used" else named(cell.method, cell.settings)
    return [method, teacher_named(cell.kind, cell.recipe)]


def _networks(networks: list[Cell], alone: bool, published: bool) -> Sheet:
    """Teachers, and other networks trained without one, by recipe, published values beside ours."""
    n, most = common(cell.summary.n for cell in networks)
    beside = Beside(columns(networks), lines(networks), published)
    rows: list[Line] = []
    for line in lines(networks):
        label = named(teacher_named(line[0].kind, ""), line[0].settings)
        rows.append(Line([label], beside.places(line, n), not rows))
    for i, line in enumerate(with_difference(networks)):
        found, label = by_column(line), named("ICC − plain", line[0].settings)
        ours = [gain_of(found.get(h.column), n) if h.part != "published" else None for h in beside.heads]
        rows.append(Line([label], ours, i == 0))
    roles = {record.role for cell in networks for record in cell.records}
    title = "Teachers" if roles == {"teacher"} else "Trained without a teacher"
    notes = [LEAKS] if alone and networks[0].select == "best" else []
    notes += _uneven(networks, "network") + (beside.notes() if beside.cited else [])
    notes += gainless(networks) + gain_notes([*differences(networks)])
    return Sheet("networks", title, _caption(networks[0], most, n, rows), ["Recipe"], beside.heads, rows, notes)


def _caption(cell: Cell, most: int, n: int, rows: list[Line]) -> str:
    spread = "mean ± standard deviation over seeds" if most > 1 else "one run per cell, so no spread"
    gains = any(place and place.gain for row in rows for place in row.places)
    interval = "; gains in points with their 95 % interval, paired on the seed" if gains and most > 1 else ""
    return f"Test {METRICS[cell.metric]} in %, {CHOSEN[cell.select]}; {spread}{interval}{times(n, rows)}."


def _uneven(cells: list[Cell], column: str) -> list[str]:
    """The methods whose settings go with the column, as far as no column has several of them."""
    settings: dict[str, list[Settings]] = {}
    for cell in cells:
        if not cell.settings:
            settings.setdefault(cell.method, []).append(cell.records[0].settings)
    uneven = {method: ", ".join(varied(several)) for method, several in settings.items()}
    return [f"{named(m, '')}: the settings {keys} differ by {column}." for m, keys in uneven.items() if keys]
