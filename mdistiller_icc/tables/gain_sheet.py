"""What every method gains from the ICC teacher, as a sheet of its own; and gains elsewhere, as places and notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from mdistiller_icc.tables.cells import PLAIN, Cell, by_column, columns, lines
from mdistiller_icc.tables.counts import common, times
from mdistiller_icc.tables.gains import MeanGain, mean_gain
from mdistiller_icc.tables.records import KINDS, Column
from mdistiller_icc.tables.report import Head, Line, Sheet, Shown
from mdistiller_icc.tables.statistics import Difference
from mdistiller_icc.tables.text import headed, named, signed, teacher_named

MEAN = "Mean of the methods"


def gain_sheet(distilled: list[Cell]) -> Sheet:
    """What every method gains from the ICC teacher, and what they gain on average, by pair."""
    pairs, means = columns(distilled), _means(distilled)
    shown = [*differences(distilled), *(mean.difference for by_pair in means.values() for mean in by_pair.values())]
    n, most = common(difference.n for difference in differences(distilled))
    rows = []
    for teachers, line in _compared(distilled):
        labels, found = [named(line[0].method, line[0].settings), teachers], by_column(line)
        rows.append(Line(labels, [gain_of(found.get(pair), n) for pair in pairs], True))
    for teachers, by_pair in means.items():
        places = [_points(by_pair[pair].difference, n) if pair in by_pair else None for pair in pairs]
        rows.append(Line([MEAN, teachers], places, True))
    interval = "with the 95 % interval of a paired t test, " if most > 1 else ""
    caption = f"ICC teacher minus plain teacher, in points, {interval}paired on the seed{times(n, rows)}."
    notes = _unlike(distilled) + gainless(distilled) + gain_notes(shown) + _of_which(means, len(pairs))
    heads = [Head(pair) for pair in pairs]
    return Sheet("gains", "Gain of the ICC teacher", caption, ["Method", "Teachers"], heads, rows, notes)


def _compared(distilled: list[Cell]) -> Iterator[tuple[str, list[Cell]]]:
    """The lines that have a gain, parted by the kind of the plain teacher, each with its teachers in words."""
    for line in with_difference(distilled):
        for kind in PLAIN:
            if over := [cell for cell in line if cell.gain and cell.gain.difference and cell.gain.over == kind]:
                yield f"{teacher_named('icc', line[0].recipe)} − {KINDS[kind]}", over


def _means(distilled: list[Cell]) -> dict[str, dict[Column, MeanGain]]:
    """The mean over the methods of every kind of ICC teacher, by pair, where there are several."""
    several: dict[str, dict[Column, list[Cell]]] = {}
    for teachers, line in _compared(distilled):
        for cell in line:
            several.setdefault(teachers, {}).setdefault(cell.column, []).append(cell)
    means = {
        teachers: {pair: mean for pair, cells in by_pair.items() if (mean := mean_gain(cells))}
        for teachers, by_pair in several.items()
    }
    return {teachers: by_pair for teachers, by_pair in means.items() if by_pair}


def _of_which(means: Mapping[str, Mapping[Column, MeanGain]], pairs: int) -> list[str]:
    """What a mean is over; of which methods, where those with fewer seeds are left aside, is a note for each pair."""
    notes = [f"{MEAN}: first over them, then over the seeds."] if means else []
    for by_pair in means.values():
        for pair, mean in by_pair.items():
            if mean.aside:
                methods = ", ".join(named(cell.method, cell.settings) for cell in mean.cells)
                where = f"{MEAN} for {headed(pair)}" if pairs > 1 else MEAN
                notes.append(f"{where}: of {methods}, which have the most seeds.")
    return notes


def gain_of(cell: Cell | None, n: int) -> Shown | None:
    """What a cell gains, if anything is known of it; see `_points`."""
    return _points(cell.gain.difference if cell and cell.gain else None, n)


def _points(difference: Difference | None, n: int) -> Shown | None:
    """A difference and its interval, and its number of pairs unless that is ``n``."""
    if not difference:
        return None
    spread = " [{}, {}]".format(*map(signed, difference.interval)) if difference.interval else ""
    count = difference.n if difference.n != n else None
    return Shown(signed(difference.mean), difference.mean, spread, count, gain=difference)


def with_difference(cells: Iterable[Cell]) -> Iterator[list[Cell]]:
    """The lines of a table that have a gain."""
    return (line for line in lines(cells) if any(differences(line)))


def differences(cells: Iterable[Cell]) -> Iterator[Difference]:
    """The gains that are known."""
    return (cell.gain.difference for cell in cells if cell.gain and cell.gain.difference)


def _unlike(distilled: list[Cell]) -> list[str]:
    """Where a gain is not ICC's alone: one note for all columns of which the same is to be said."""
    pairs: dict[str, dict[Column, None]] = {}
    for cell in distilled:
        if cell.gain and cell.gain.difference and cell.gain.note:
            pairs.setdefault(cell.gain.note, {})[cell.column] = None
    return [f"{', '.join(map(headed, p))}: {said}, so the gain is not ICC's alone." for said, p in pairs.items()]


def gainless(cells: list[Cell]) -> list[str]:
    """The rows, and the columns of rows, that are blank or missing among the gains."""
    notes = []
    for line in lines(cells):
        missing: dict[str, list[Cell]] = {}
        for cell in line:
            if cell.gain and not cell.gain.difference:
                missing.setdefault(cell.gain.note, []).append(cell)
        method, recipe = named(line[0].method, line[0].settings), line[0].recipe
        who = f"{method} with {teacher_named('icc', recipe)}" if recipe else method
        for reason, several in missing.items():
            where = map(headed, columns(several) if len(several) < len(line) else [])
            notes.append(f"{', '.join([who, *where])}: {reason}.")
    return notes


def gain_notes(several: list[Difference]) -> list[str]:
    """How intervals are to be read."""
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
