"""Sort records into cells, none of which mixes protocols, settings or teachers that were made differently."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable
from dataclasses import dataclass, replace
from typing import Any

from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.tables.cells import Cell, columns, lines, natural
from mdistiller_icc.tables.gains import Training, with_gains
from mdistiller_icc.tables.records import KINDS, Column, LeftOut, Record, Teacher
from mdistiller_icc.tables.settings import Settings, describe, spell, varied
from mdistiller_icc.tables.statistics import summarise

SELECTIONS = {"last": "last", "mean10": "mean_last_10", "best": "best_test", "heldout": "heldout_selected"}
"""How an accuracy is chosen among a run's epochs: the command line's word and the record's."""

METHODS = (
    *("KD", "FITNET", "AT", "SP", "CC", "VID", "RKD", "PKT", "AB", "FT", "FSP", "NST", "CRD", "OFD", "KDSVD"),
    *("REVIEWKD", "DKD", "SIMKD", "DIST", "CTKD", "CATKD", "NKD", "KD++", "NORMKD", "MLKD", "DOT", "TTM", "WTTM"),
    *("SDD-KD", "SDD-DKD", "SDD-NKD", "CRLD", "DTKD", "RLD", "WKD-L", "GDKD"),
    *("CKD", "BICKD", "PCKD", "PCKD_WITHOUT_KD", "ICCKD"),
)
"""The order of the methods; those not among them come after, by name."""

Make = Training | str | None
"""How a teacher was made: as its own record says, else the digest of its checkpoint, else unknown."""


def group(records: Collection[Record], metric: str, select: str) -> tuple[list[Cell], list[LeftOut]]:
    """The cells of finished runs, data set by data set and protocol by protocol, and the runs that are in none.

    Args:
        records: of finished runs.
        metric: ``top1`` or ``top5``.
        select: a key of `SELECTIONS`.
    """
    left_out: list[LeftOut] = []
    values: dict[str, float] = {}
    by_protocol: dict[Hashable, list[Record]] = defaultdict(list)
    for record in records:
        value = record.accuracy.get(metric, {}).get(SELECTIONS[select])
        if value is None:
            left_out.append(LeftOut(record.folder, f"no {metric} accuracy is recorded for '{select}'"))
        else:
            values[record.folder] = value
            by_protocol[record.dataset, record.images, record.protocol].append(record)
    trained = {r.digest: r for r in records if r.digest is not None and not r.teacher}
    trainings = {digest: Training(r.settings, r.protocol) for digest, r in trained.items()}
    sorter = _Sorter(metric, select, values, trained, trainings, left_out)

    def order(many: list[Record]) -> tuple[str, bool, int, str]:
        return many[0].dataset, all(r.teacher is None for r in many), -len(many), describe(many[0].protocol)

    return [cell for many in sorted(by_protocol.values(), key=order) for cell in sorter.cells(many)], left_out


def only(records: Collection[Record], methods: Collection[str] | None, pairs: Collection[str] | None) -> list[Record]:
    """The runs of some methods and of some pairs alone, with the networks of these pairs trained without a teacher.

    Args:
        records: of finished runs.
        methods: as records name them, ``DKD``; None for all.
        pairs: ``TEACHER:STUDENT``; None for all.

    Raises:
        UserError: no run has one of these names, or none is of these methods and pairs together.
    """
    taught = [record for record in records if record.teacher]
    for what, wanted, known in (
        ("--methods", methods, {record.method for record in taught}),
        ("--pairs", pairs, {":".join(record.column) for record in taught}),
    ):
        for name in wanted or ():
            if name not in known:
                raise UserError(
                    f"{what}: no run of '{name}'{nearest(name, known)}; there are {', '.join(sorted(known))}"
                )
    kept = {
        record.folder
        for record in taught
        if (methods is None or record.method in methods) and (pairs is None or ":".join(record.column) in pairs)
    }
    if methods and pairs and not kept:
        raise UserError(f"--methods, --pairs: no run of {', '.join(methods)} is of {', '.join(pairs)}")
    networks = None if pairs is None else {name for pair in pairs for name in pair.split(":")}
    return [
        record
        for record in records
        if (record.folder in kept if record.teacher else networks is None or record.student in networks)
    ]


@dataclass(frozen=True, slots=True)
class _Sorter:
    """Makes cells of the runs on one data set under one protocol; holds what it needs beside them."""

    metric: str
    select: str
    values: dict[str, float]
    trained: dict[str, Record]
    trainings: dict[str, Training]
    left_out: list[LeftOut]

    def cells(self, records: list[Record]) -> list[Cell]:
        """The cells in the order of their tables: teachers used, students alone, distilled students, networks."""
        distilled = self._table("distilled", [r for r in records if r.teacher])
        pairs = columns(distilled)
        students = {student for _, student in pairs}
        plain = [r for r in records if r.method == "NONE" and not r.teacher and r.student in students]
        own = {r.student for r in plain if r.role == "student"}
        alone = self._table("student alone", [r for r in plain if r.role == "student" or r.student not in own])
        shown = {r.folder for r in plain if r.role == "student"}
        networks = self._table("network", [r for r in records if not r.teacher and r.folder not in shown])
        made = [
            *self._teachers(distilled),
            *(replace(c, column=p) for line in lines(alone) for p in pairs for c in line if c.column == p[1:]),
            *_ranked(with_gains(distilled, self.trainings)),
            *with_gains(networks, self.trainings),
        ]
        return [replace(cell, published=cell.published_in(cell.column)) for cell in made]

    def _table(self, entry: str, records: list[Record]) -> list[Cell]:
        """The cells of one table, line by line in the order of the literature."""
        settings: dict[str, set[Settings]] = defaultdict(set)
        in_column: dict[tuple[str, Column], set[Settings]] = defaultdict(set)
        for r in records:
            settings[r.method].add(r.settings)
            in_column[r.method, r.column].add(r.settings)
        split_methods = {method for (method, _), several in in_column.items() if len(several) > 1}
        makes = {r.teacher: self._make(r.teacher) for r in records if r.teacher}
        split_kinds = self._split_kinds(records)
        members: dict[tuple[str, Settings, str, Make], dict[Column, list[Record]]]
        members = defaultdict(lambda: defaultdict(list))
        for r in records:
            variant = r.settings if r.method in split_methods else ()
            make = makes[r.teacher] if r.teacher and r.kind in split_kinds else None
            members[r.method, variant, r.kind, make][r.column].append(r)

        cells = []
        for i, ((method, variant, kind, make), by_column) in enumerate(members.items()):
            spelled = spell(variant, varied(settings[method])) or "no settings"
            others = [m for teacher, m in makes.items() if teacher.kind == kind]
            recipe, protocol = _recipe(make, others) if kind in split_kinds else ("", ())
            for column, many in by_column.items():
                kept = self._one_per_seed(many)
                values = tuple(self.values[r.folder] for r in kept)
                cell = Cell(
                    entry=entry, line=i, dataset=kept[0].dataset, images=kept[0].images, protocol=kept[0].protocol,
                    metric=self.metric, select=self.select, method=method, kind=kind, recipe=recipe,
                    settings=spelled if method in split_methods else "", trained_under=protocol, column=column,
                    trainings=self._trainings([r.teacher for r in kept if r.teacher]),
                    summary=summarise(values), records=kept, values=values,
                )  # fmt: skip
                cells.append(cell)
        return sorted(cells, key=_order)

    def _one_per_seed(self, records: list[Record]) -> tuple[Record, ...]:
        """One run per seed of student and teacher: the one finished last; earlier ones are left out, with a note."""
        kept: dict[Hashable, Record] = {}
        for r in sorted(records, key=lambda r: (r.finished, r.folder)):
            key = (r.seed, r.teacher and r.teacher.seed)
            if key in kept:
                reason = f"repeated with the same settings and seed {r.seed} by {r.folder}, which counts instead"
                self.left_out.append(LeftOut(kept[key].folder, reason))
            kept[key] = r
        return tuple(sorted(kept.values(), key=lambda r: (r.seed, r.folder)))

    def _make(self, teacher: Teacher) -> Make:
        return None if teacher.digest is None else self.trainings.get(teacher.digest, teacher.digest)

    def _trainings(self, teachers: list[Teacher]) -> tuple[tuple[tuple[int | None, ...], Settings], ...]:
        own = [self.trained[teacher.digest] for teacher in teachers if teacher.digest in self.trained]
        return tuple(dict.fromkeys((record.images, record.protocol) for record in own))

    def _split_kinds(self, records: list[Record]) -> set[str]:
        """The kinds of teachers of which one column holds several makes.

        A teacher is told by its checkpoint's digest. Where the run that trained it is at hand its make is
        that run's settings and protocol. Teachers of unknown make count as one make unless two of them
        share a seed, since only retraining or other settings can give one seed two checkpoints.
        """
        in_column: dict[tuple[str, Column], set[Teacher]] = defaultdict(set)
        for r in records:
            if r.teacher:
                in_column[r.kind, r.column].add(r.teacher)
        split = set()
        for (kind, _), teachers in in_column.items():
            known = {make for teacher in teachers if isinstance(make := self._make(teacher), Training)}
            unknown = {(t.seed, t.digest) for t in teachers if not isinstance(self._make(t), Training)}
            everyone = {(t.seed, t.digest) for t in teachers}
            clash = any(seed == other and digest != another for seed, digest in unknown for other, another in everyone)
            if len(known) > 1 or clash:
                split.add(kind)
        return split

    def _teachers(self, distilled: list[Cell]) -> list[Cell]:
        """Mean accuracy of the distinct teachers that students of each pair learnt from, as they were loaded."""
        found: dict[tuple[str, str], dict[Column, list[Cell]]] = defaultdict(lambda: defaultdict(list))
        for cell in distilled:
            found[cell.kind, cell.recipe][cell.column].append(cell)
        cells = []
        for i, by_column in enumerate(found.values()):
            for students in by_column.values():
                teachers = [r.teacher for cell in students for r in cell.records if r.teacher]
                reached = {(t.seed, t.digest): value for t in teachers if (value := t.figure(self.metric)) is not None}
                if reached:
                    used = replace(
                        students[0], entry="teacher used", line=i, method="", settings="", records=(), values=(),
                        summary=summarise([*reached.values()]), trainings=self._trainings(teachers),
                    )  # fmt: skip
                    cells.append(used)
        return sorted(cells, key=_order)


def _recipe(make: Make, others: list[Make]) -> tuple[str, Settings]:
    """In words how a teacher was made, as far as that differs between the others; and under which protocol."""
    if not isinstance(make, Training):
        return (make.removeprefix("sha256:")[:8] if make else "unknown checkpoint"), ()
    known = [other for other in others if isinstance(other, Training)]
    settings = spell(make.settings, varied(other.settings for other in known))
    protocol = describe(make.protocol, varied(other.protocol for other in known))
    return "; ".join(filter(None, (settings, protocol))), make.protocol


def _order(cell: Cell) -> tuple[Any, ...]:
    method = cell.method.removesuffix("+LS")
    place = METHODS.index(method) if method in METHODS else len(METHODS)
    name = "" if cell.method in (*METHODS, "NONE", "ICC") else cell.method
    return place, name, natural(cell.settings), [*KINDS].index(cell.kind), natural(cell.recipe), cell.line


def _ranked(distilled: list[Cell]) -> list[Cell]:
    """Best and second best of each column with at least two (three) values, ties as they are printed."""
    printed: dict[Column, set[str]] = defaultdict(set)
    for cell in distilled:
        printed[cell.column].add(f"{cell.summary.mean:.2f}")
    ranks: dict[tuple[Column, str], str] = {}
    for column, values in printed.items():
        best, *others = sorted(values, key=float, reverse=True)
        if others:
            ranks[column, best] = "best"
        if len(others) > 1:
            ranks[column, others[0]] = "second"
    return [replace(cell, rank=ranks.get((cell.column, f"{cell.summary.mean:.2f}"))) for cell in distilled]
