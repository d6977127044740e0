"""What the ICC teacher adds to every cell that has a counterpart with a plain teacher."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

from mdistiller_icc.tables.cells import PLAIN, Cell, Gain
from mdistiller_icc.tables.records import KINDS
from mdistiller_icc.tables.settings import Settings, describe, varied
from mdistiller_icc.tables.statistics import Difference, difference


class Training(NamedTuple):
    """How a teacher was made: the ICC settings, if any, and the protocol."""

    settings: Settings
    protocol: Settings


def with_gains(cells: list[Cell], trainings: Mapping[str, Training]) -> list[Cell]:
    """The cells of one table, those of ICC teachers with their gains.

    Args:
        cells: in the table's order.
        trainings: how teachers were made, by the digest of their checkpoints.
    """
    plain = [cell for cell in cells if cell.kind in PLAIN]
    return [replace(cell, gain=_found(cell, plain, trainings)) if cell.kind == "icc" else cell for cell in cells]


def _found(icc: Cell, plain: list[Cell], trainings: Mapping[str, Training]) -> Gain | None:
    """The gain over the one plain cell that it can be compared with, or why there is none.

    Without any plain cell there is nothing to compare, and nothing to tell.
    """
    reasons: list[str] = []
    for kind in (kind for kind in PLAIN if any(cell.kind == kind for cell in plain)):
        here = [cell for cell in plain if cell.kind == kind and cell.column == icc.column]
        rivals = [cell for cell in here if _alike(cell) == _alike(icc)]
        if len(rivals) > 1:
            rivals = [cell for cell in rivals if cell.trained_under == icc.trained_under] or rivals
        if len(rivals) == 1:
            gain = _gain(icc, rivals[0], trainings)
            if gain.difference:
                return gain
            reasons.insert(0, gain.note)
        elif rivals:
            reasons.append(f"several {KINDS[kind]} rows could be compared with it")
        elif here:
            reasons.append(f"no {KINDS[kind]} teacher's run has the same settings")
        else:
            reasons.append(f"no {KINDS[kind]} teacher's run of this {'pair' if len(icc.column) > 1 else 'network'}")
    return Gain("", None, reasons[0]) if reasons else None


def _alike(cell: Cell) -> Hashable:
    """What a plain cell must share with an ICC cell: the distiller and its settings, where there is one."""
    return (cell.method, cell.settings) if cell.entry == "distilled" else ()


def _gain(icc: Cell, plain: Cell, trainings: Mapping[str, Training]) -> Gain:
    rival = plain.by_seed()
    by_seed = {seed: value - rival[seed] for seed, value in icc.by_seed().items() if seed in rival}
    if not by_seed:
        return Gain(plain.kind, None, f"no seed has both a {KINDS[plain.kind]} and an ICC teacher's run")
    return Gain(plain.kind, difference([*by_seed.values()]), _unlike(icc, plain, trainings), by_seed)


class MeanGain(NamedTuple):
    """What several methods gain on average, those methods, and how many others have fewer seeds."""

    cells: list[Cell]
    difference: Difference
    aside: int


def mean_gain(cells: Sequence[Cell]) -> MeanGain | None:
    """What several methods gain on average, seed by seed, and the methods: those with the most seeds of a column.

    Their teachers are the same, so their gains are not independent, and intervals of each do not add up to one of
    all. The means of the seeds are.

    Args:
        cells: of one column, a method each.

    Returns:
        None for fewer than two methods, or fewer than two seeds that they share.
    """
    gained = [cell for cell in cells if cell.gain and cell.gain.difference]
    most = max((len(cell.gain.by_seed) for cell in gained if cell.gain), default=0)
    several = [cell for cell in gained if cell.gain and len(cell.gain.by_seed) == most]
    gains = [cell.gain.by_seed for cell in several if cell.gain]
    shared = set.intersection(*(set(by_seed) for by_seed in gains)) if gains else set()
    if len(several) < 2 or len(shared) < 2:
        return None
    means = [fmean(by_seed[seed] for by_seed in gains) for seed in sorted(shared)]
    return MeanGain(several, difference(means), len(gained) - len(several))


def _unlike(icc: Cell, plain: Cell, trainings: Mapping[str, Training]) -> str:
    """How the training of two cells' teachers differed, ICC apart; nothing where it did not or is not known."""
    digests = [{r.teacher.digest for r in cell.records if r.teacher} for cell in (icc, plain)]
    known = [{trainings[d].protocol for d in several if d is not None and d in trainings} for several in digests]
    if not all(known) or known[0] == known[1]:
        return ""
    keys = varied(known[0] | known[1])
    told = [" or ".join(sorted(describe(protocol, keys) for protocol in protocols)) for protocols in known]
    return f"the ICC teacher's training had {told[0]}, the plain one's {told[1]}"
