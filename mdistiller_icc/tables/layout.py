"""Lay groups out as sheets that every format can draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mdistiller_icc.tables.grouping import PLAIN, Gain, Gainless, Group
from mdistiller_icc.tables.published import Fact, Source, lookup, without_pair
from mdistiller_icc.tables.records import KINDS
from mdistiller_icc.tables.rows import Pair, Row
from mdistiller_icc.tables.settings import describe
from mdistiller_icc.tables.sheets import Accuracy, Head, Line, Points, Published, Section, Sheet, Shown, Unpublished
from mdistiller_icc.tables.statistics import Difference, Summary

CHOSEN = {
    "last": "last epoch",
    "mean10": "mean of the last 10 epochs",
    "best": "best test epoch",
    "heldout": "epoch chosen on the held-out split",
}
METRICS = {"top1": "top-1", "top5": "top-5"}
NAMES = {"FITNET": "FitNet", "REVIEWKD": "ReviewKD", "BICKD": "BicKD", "PCKD_WITHOUT_KD": "PCKD without KD"}
LEAKS = "The best test epoch lets the test set choose, which flatters every row."
LOADED = "Teacher rows: the checkpoints that the students learnt from, as they were loaded."


def layout(groups: Iterable[Group], metric: str, select: str) -> list[Section]:
    """One section per group, with a sheet each for students, gains and networks trained without a teacher."""
    sections = []
    for group in groups:
        sheets = [students(group, metric, select)] if group.rows else []
        if group.gains:
            sheets.append(gains(group))
        if group.networks:
            sheets.append(networks(group, metric, select))
        sheets[0].notes += [] if group.gains else _gainless(group.gainless, group.pairs)
        sheets[-1].notes += _hosts(group)
        heading = f"{group.dataset}: {group.apart}" if group.apart else group.dataset
        sections.append(Section(group, heading, _protocol(group), sheets))
    return sections


def students(group: Group, metric: str, select: str) -> Sheet:
    """Rows of methods with each kind of teacher, columns of pairs, published values beside ours."""
    n, most = _common(cell.summary.n for row in [*group.rows, *group.alone] for cell in row.cells.values())
    references = _References()
    with_published = {pair for pair in group.pairs if _any_published(group, pair, metric)}
    heads = []
    for pair in group.pairs:
        heads += [Head(pair, "ours"), Head(pair, "published")] if pair in with_published else [Head(pair)]

    def line(labels: list[str], method: str, kind: str, ours: dict[Pair, Accuracy], first: bool) -> Line:
        cells: list[Shown] = []
        for pair in group.pairs:
            cells.append(ours.get(pair))
            if pair in with_published:
                fact = lookup(group.dataset, *pair, method, metric) if kind in PLAIN or not kind else None
                cells.append(references.cite(fact) if fact else Unpublished() if pair in ours else None)
        return Line(labels, cells, first)

    lines = []
    for (kind, recipe), summaries in group.teachers.items():
        ours = {pair: _accuracy(summary, n) for pair, summary in summaries.items()}
        lines.append(line(["Teacher", teacher_named(kind, recipe)], "teacher", kind, ours, not lines))
    for i, row in enumerate(group.alone):
        found = {pair: row.cells[pair.student] for pair in group.pairs if pair.student in row.cells}
        ours = {pair: _accuracy(cell.summary, n) for pair, cell in found.items()}
        lines.append(line([named("Student alone", row.settings), "–"], "student", "", ours, i == 0))
    marks = ranks(group)
    for i, row in enumerate(group.rows):
        ours = {pair: _accuracy(cell.summary, n, marks.get((i, pair), "")) for pair, cell in row.cells.items()}
        labels = [named(row.method, row.settings), teacher_named(row.kind, row.recipe)]
        before = group.rows[i - 1]
        first = i == 0 or (before.method, before.settings) != (row.method, row.settings)
        lines.append(line(labels, row.method, row.kind, ours, first))

    caption = _caption(metric, select, most, n, lines)
    sheet = Sheet("students", "Students", caption, ["Method", "Teacher"], heads, lines)
    sheet.marks = {*marks.values()}
    sheet.notes = ([LEAKS] if select == "best" else []) + ([LOADED] if group.teachers else [])
    sheet.notes += _uneven(group.rows, "pair")
    if with_published:
        sheet.notes += _published_notes(group, references, metric)
    return sheet


def gains(group: Group) -> Sheet:
    """What every method gains from the ICC teacher, by pair."""
    several = [gain for one in group.gains for gain in one.by_column.values()]
    n, most = _common(gain.n for gain in several)
    lines = [
        Line([named(one.row.method, one.row.settings), _compared(one)], _points(one, group.pairs, n), True)
        for one in group.gains
    ]
    interval = "with the 95 % interval of a paired t test, " if most > 1 else ""
    times = _times(n, [cell for line in lines for cell in line.cells])
    caption = f"ICC teacher minus plain teacher, in points, {interval}paired on the seed{times}."
    heads = [Head(pair) for pair in group.pairs]
    sheet = Sheet("gains", "Gain of the ICC teacher", caption, ["Method", "Teachers"], heads, lines)
    sheet.notes = _unlike(group.gains) + _gainless(group.gainless, group.pairs) + _gain_notes(several)
    return sheet


def networks(group: Group, metric: str, select: str) -> Sheet:
    """Teachers, and other networks trained without one, by recipe."""
    n, most = _common(cell.summary.n for row in group.networks for cell in row.cells.values())
    lines = []
    for row in group.networks:
        cells = [row.cells.get(architecture) for architecture in group.architectures]
        label = named(teacher_named(row.kind, ""), row.settings)
        lines.append(Line([label], [cell and _accuracy(cell.summary, n) for cell in cells], not lines))
    for i, one in enumerate(group.network_gains):
        lines.append(Line([named("ICC − plain", one.row.settings)], _points(one, group.architectures, n), i == 0))
    title = "Teachers" if all(_roles(row) == {"teacher"} for row in group.networks) else "Trained without a teacher"
    caption = _caption(metric, select, most, n, lines)
    sheet = Sheet("networks", title, caption, ["Recipe"], [Head(a) for a in group.architectures], lines)
    sheet.notes = [] if group.rows or select != "best" else [LEAKS]
    sheet.notes += _uneven(group.networks, "network") + _gainless(group.network_gainless, group.architectures)
    sheet.notes += _gain_notes([gain for one in group.network_gains for gain in one.by_column.values()])
    return sheet


class _References:
    """Numbers the sources of the published values as they are cited: A1, A2, B1."""

    def __init__(self) -> None:
        self.marks: dict[Source, str] = {}

    def cite(self, fact: Fact) -> Published:
        source = fact.source
        if source not in self.marks:
            number = 1 + sum(other.tier == source.tier for other in self.marks)
            self.marks[source] = f"{source.tier}{number}"
        return Published(fact, self.marks[source])


def _any_published(group: Group, pair: Pair, metric: str) -> bool:
    methods = ["teacher", "student", *(row.method for row in group.rows)]
    return any(lookup(group.dataset, *pair, method, metric) for method in methods)


def ranks(group: Group) -> dict[tuple[int, Pair], str]:
    """Best and second best of each column with at least two (three) values, ties as they are printed."""
    marks = {}
    for pair in group.pairs:
        values = {i: f"{row.cells[pair].summary.mean:.2f}" for i, row in enumerate(group.rows) if pair in row.cells}
        ranked = sorted({*values.values()}, key=float, reverse=True)
        if len(ranked) > 1:
            marks |= {(i, pair): "best" for i, value in values.items() if value == ranked[0]}
        if len(ranked) > 2:
            marks |= {(i, pair): "second" for i, value in values.items() if value == ranked[1]}
    return marks


def _accuracy(summary: Summary, n: int, mark: str = "") -> Accuracy:
    return Accuracy(summary, mark, counted=summary.n != n)


def _points(gain: Gain, columns: list, n: int) -> list[Shown]:
    found = (gain.by_column.get(column) for column in columns)
    return [difference and Points(difference, counted=difference.n != n) for difference in found]


def _caption(metric: str, select: str, most: int, n: int, lines: list[Line]) -> str:
    cells = [cell for line in lines for cell in line.cells]
    spread = "mean ± standard deviation over seeds" if most > 1 else "one run per cell, so no spread"
    gains = any(isinstance(cell, Points) for cell in cells)
    interval = "; gains in points with their 95 % interval, paired on the seed" if gains and most > 1 else ""
    return f"Test {METRICS[metric]} accuracy in %, {CHOSEN[select]}; {spread}{interval}{_times(n, cells)}."


def _uneven(rows: list[Row], column: str) -> list[str]:
    uneven = {row.method: row.uneven for row in rows if row.uneven}
    return [f"{named(m, '')}: the settings {', '.join(keys)} differ by {column}." for m, keys in uneven.items()]


def _published_notes(group: Group, references: _References, metric: str) -> list[str]:
    notes = ["Published values keep the protocol of their source; compare them with ours only where it is the same."]
    notes += [f"[{mark}] {source}." for source, mark in sorted(references.marks.items(), key=lambda item: item[1])]
    loose = [fact for fact in without_pair(group.dataset) if fact.metric in (metric, f"delta_{metric}")]
    if loose:
        said = "; ".join(
            f"{f.method} {f.value:+.2f} points [{f.source.tier}]"
            if f.metric.startswith("delta")
            else f"{f.method} {f.value:.2f} [{f.source.tier}]"
            for f in loose
        )
        notes.append(f"Published without naming a pair, hence in no cell: {said}.")
    return notes


def _unlike(several: list[Gain]) -> list[str]:
    """Where a gain is not ICC's alone: one note for all columns of which the same is to be said."""
    columns: dict[str, list[str]] = {}
    for gain in several:
        for pair, said in gain.unlike.items():
            columns.setdefault(said, []).append(f"{pair.teacher} → {pair.student}")
    return [
        f"{', '.join(dict.fromkeys(pairs))}: {said}, so the gain is not ICC's alone." for said, pairs in columns.items()
    ]


def _gainless(several: list[Gainless], columns: list) -> list[str]:
    """The rows, and the columns of rows, that are blank or missing among the gains."""
    notes = []
    for one in several:
        method = named(one.row.method, one.row.settings)
        where = [f"{method} with {teacher_named('icc', one.row.recipe)}" if one.row.recipe else method]
        where += [
            " → ".join(column) if isinstance(column, Pair) else column for column in columns if column in one.columns
        ]
        notes.append(f"{', '.join(where)}: {one.reason}.")
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


def _hosts(group: Group) -> list[str]:
    hosts = sorted({run.host for run in group.runs})
    return [f"The runs come from several hosts: {', '.join(hosts)}."] if len(hosts) > 1 else []


def _protocol(group: Group) -> str:
    classes, train, test = group.images
    counts = [(train, "training images"), (test, "test images"), (classes, "classes")]
    images = ", ".join(f"{value:,} {name}" for value, name in counts if isinstance(value, int))
    return "; ".join(filter(None, (describe(group.protocol), images)))


def _common(counts: Iterable[int]) -> tuple[int, int]:
    """The number of runs that most cells have, and the largest number."""
    found = Counter(counts)
    return max(found, key=lambda n: (found[n], n)), max(found)


def _times(n: int, cells: list[Shown]) -> str:
    return f" (n = {n}{', elsewhere as in brackets' if any(getattr(cell, 'counted', False) for cell in cells) else ''})"


def named(method: str, settings: str) -> str:
    """A method as tables write it, with the settings that tell it from others of its name."""
    name = NAMES.get(method, method)
    return f"{name} ({settings})" if settings else name


def teacher_named(kind: str, recipe: str) -> str:
    """A kind of teacher as tables write it, with what tells it from others of its kind."""
    return f"{KINDS[kind]} ({recipe})" if recipe else KINDS[kind]


def _compared(gain: Gain) -> str:
    return f"{teacher_named('icc', gain.row.recipe)} − {KINDS[gain.baseline]}"


def _roles(row: Row) -> set[str]:
    return {run.role for cell in row.cells.values() for run in cell.runs}
