"""Gather runs into groups, one per data set and protocol, and compare the rows of each group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from mdistiller_icc.tables.records import KINDS, TEACHER_KINDS, LeftOut, Run
from mdistiller_icc.tables.rows import Assembler, Cell, Column, Pair, Recipe, Recipes, Row, in_order, natural
from mdistiller_icc.tables.settings import Settings, describe, varied
from mdistiller_icc.tables.statistics import Difference, Summary, paired, summarise

SELECTIONS = {"last": "last", "mean10": "mean_last_10", "best": "best_test", "heldout": "heldout_selected"}
"""How an accuracy is chosen among a run's epochs: the command line's word and the record's."""

PLAIN = ("vanilla", "pretrained")
"""Kinds of teachers an ICC teacher is compared with, the first at hand; published values speak of them."""


@dataclass(slots=True)
class Gain:
    """What the ICC teacher adds to a row's plain teacher, paired on the seed.

    ``unlike`` says, by column, in what else the two teachers' training differed, as far as it is known.
    """

    row: Row
    baseline: str
    by_column: dict[Column, Difference]
    unlike: dict[Column, str]


@dataclass(slots=True)
class Gainless:
    """Why an ICC row has no gain; ``columns`` are those meant, where the row has a gain in others."""

    row: Row
    reason: str
    columns: list[Column] = field(default_factory=list)


@dataclass(slots=True)
class Group:
    """Everything that was run on one data set under one protocol.

    Attributes:
        apart: what tells this protocol from the data set's others, in words.
        rows: distilled students; columns are ``pairs``.
        gainless: what is missing for the gains that cannot be given, by row and then by column; see `_gains`.
        teachers: accuracy of the teachers of ``rows`` as they were loaded, by (kind, recipe).
        alone: the pairs' students trained without a teacher.
        networks: teachers, and other networks trained without one; columns are ``architectures``.
    """

    dataset: str
    images: tuple[int | None, ...]
    protocol: Settings
    runs: list[Run]
    apart: str = ""
    pairs: list[Pair] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    gains: list[Gain] = field(default_factory=list)
    gainless: list[Gainless] = field(default_factory=list)
    teachers: dict[tuple[str, str], dict[Pair, Summary]] = field(default_factory=dict)
    alone: list[Row] = field(default_factory=list)
    architectures: list[str] = field(default_factory=list)
    networks: list[Row] = field(default_factory=list)
    network_gains: list[Gain] = field(default_factory=list)
    network_gainless: list[Gainless] = field(default_factory=list)


def group(runs: Iterable[Run], metric: str, select: str) -> tuple[list[Group], list[LeftOut]]:
    """Sort finished runs into groups; also return those that are in no cell and why.

    Args:
        runs: finished runs.
        metric: ``top1`` or ``top5``.
        select: a key of `SELECTIONS`.
    """
    left_out: list[LeftOut] = []
    by_protocol: dict[Hashable, list[Run]] = defaultdict(list)
    recipes: Recipes = {}
    for run in runs:
        if run.teacher is None and run.digest is not None:
            recipes[run.digest] = Recipe(run.settings, run.protocol)
        if run.accuracy[metric].get(SELECTIONS[select]) is None:
            left_out.append(LeftOut(run.folder, f"no {metric} accuracy is recorded for '{select}'"))
        else:
            by_protocol[run.dataset, run.images, run.protocol].append(run)
    assemble = Assembler(metric, SELECTIONS[select], recipes, left_out)
    groups = [_group(key, members, assemble) for key, members in by_protocol.items()]
    groups.sort(key=lambda g: (g.dataset, not g.rows, -len(g.runs), describe(g.protocol)))
    _set_apart(groups)
    return groups, left_out


def _group(key: Hashable, runs: list[Run], assemble: Assembler) -> Group:
    one = Group(*key, runs=runs)
    distilled = [run for run in runs if run.teacher is not None]
    one.rows = assemble(distilled, lambda run: Pair(run.teacher.architecture, run.student))
    one.pairs = in_order(one.rows)
    one.gains, one.gainless = _gains(one.rows, lambda row: (row.method, row.settings), assemble.recipes)
    one.teachers = _teachers(one.rows) if assemble.metric == "top1" else {}

    students = {pair.student for pair in one.pairs}
    plain = [run for run in runs if run.teacher is None and run.method == "NONE" and run.student in students]
    own = {run.student for run in plain if run.role == "student"}
    plain = [run for run in plain if run.role == "student" or run.student not in own]
    one.alone = assemble(plain, lambda run: run.student)

    shown = {id(run) for run in plain if run.role == "student"}
    networks = [run for run in runs if run.teacher is None and id(run) not in shown]
    one.networks = assemble(networks, lambda run: run.student)
    one.architectures = in_order(one.networks)
    one.network_gains, one.network_gainless = _gains(one.networks, lambda row: (), assemble.recipes)
    return one


def _teachers(rows: list[Row]) -> dict[tuple[str, str], dict[Pair, Summary]]:
    """Mean accuracy of the distinct teachers that students of each pair learnt from."""
    found: dict = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        for pair, cell in row.cells.items():
            for run in cell.runs:
                if run.teacher.top1 is not None:
                    found[row.kind, row.recipe][pair][run.teacher.seed, run.teacher.digest] = run.teacher.top1
    order = sorted(found, key=lambda key: (TEACHER_KINDS.index(key[0]), natural(key[1])))
    return {key: {pair: summarise([*ones.values()]) for pair, ones in found[key].items()} for key in order}


def _gains(rows: list[Row], alike: Callable[[Row], Hashable], recipes: Recipes) -> tuple[list[Gain], list[Gainless]]:
    """The gain of every ICC row over the plain row of the same method, and why there is none where there is none.

    A row is compared where there is exactly one plain row to compare it with. Without any plain row there is
    nothing to compare, and nothing to tell.
    """
    gains, gainless = [], []
    baselines = [kind for kind in PLAIN if any(row.kind == kind for row in rows)]
    for row in (row for row in rows if row.kind == "icc"):
        reasons = []
        for baseline in baselines:
            controls = [other for other in rows if other.kind == baseline and alike(other) == alike(row)]
            if len(controls) > 1:
                controls = [other for other in controls if other.recipe_protocol == row.recipe_protocol] or controls
            if len(controls) != 1:
                several, none = "several {} rows could be compared with it", "no {} teacher's run has the same settings"
                reasons.append((several if controls else none).format(KINDS[baseline]))
                continue
            cells = controls[0].cells
            both = {c: paired(row.cells[c].by_seed(), cells[c].by_seed()) for c in row.cells if c in cells}
            found = {column: gain for column, gain in both.items() if gain}
            unshared = f"no seed has both a {KINDS[baseline]} and an ICC teacher's run"
            if not found:
                reasons.insert(0, unshared)
                continue
            unlike = {column: _unlike(row.cells[column], cells[column], recipes) for column in found}
            gains.append(Gain(row, baseline, found, {column: said for column, said in unlike.items() if said}))
            missing = [column for column, gain in both.items() if not gain]
            if missing:
                gainless.append(Gainless(row, unshared, missing))
            break
        else:
            gainless += [Gainless(row, reason) for reason in reasons[:1]]
    return gains, gainless


def _unlike(icc: Cell, plain: Cell, recipes: Recipes) -> str:
    """How the training of two cells' teachers differed, ICC apart; nothing where it did not or is not known."""
    known = [
        {recipes[run.teacher.digest].protocol for run in cell.runs if run.teacher and run.teacher.digest in recipes}
        for cell in (icc, plain)
    ]
    if not all(known) or known[0] == known[1]:
        return ""
    keys = varied(known[0] | known[1])
    told = [" or ".join(sorted(describe(protocol, keys) for protocol in protocols)) for protocols in known]
    return f"the ICC teacher's training had {told[0]}, the plain one's {told[1]}"


def _set_apart(groups: list[Group]) -> None:
    """Name what differs between the groups of one data set."""
    for one in groups:
        rivals = [other for other in groups if other.dataset == one.dataset]
        words = describe(one.protocol, varied(other.protocol for other in rivals))
        if len({other.images for other in rivals}) > 1:
            words = ", ".join(filter(None, (words, f"{one.images[1]} training images of {one.images[0]} classes")))
        one.apart = words
