"""What a table's gains come to, in one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from mdistiller_icc.tables.cells import Cell
from mdistiller_icc.tables.grouping import group
from mdistiller_icc.tables.search import find
from mdistiller_icc.tables.statistics import Difference
from mdistiller_icc.tables.text import headed, named, signed

NAMED = 4
"""How many comparisons are named; of more there is the count."""


def verdict(folders: Iterable[str | os.PathLike[str]]) -> str:
    """Whether ICC teachers and their students do better than plain ones, last epoch, by 95 % intervals over seeds.

    Raises:
        UserError: a folder is missing or holds no run.
    """
    cells, _left_out = group(find(folders).records, "top1", "last")
    pairs = len({cell.column for cell in cells if cell.entry == "distilled"})
    gains = {
        _who(cell, pairs): cell.gain.difference
        for cell in sorted(cells, key=lambda cell: cell.entry == "distilled")
        if cell.entry in ("network", "distilled") and cell.gain and cell.gain.difference
    }
    return f"Verdict: {_sentence(gains)}"


def _who(cell: Cell, pairs: int) -> str:
    name = "the teacher" if cell.entry == "network" else named(cell.method, cell.settings)
    recipe = f" ({cell.recipe})" if cell.recipe else ""
    return name + recipe + (f" {headed(cell.column)}" if pairs > 1 else "")


def _sentence(gains: dict[str, Difference]) -> str:
    if not gains:
        return "none, for nothing was trained from both a plain and an ICC teacher."
    if all(gain.interval is None for gain in gains.values()):
        return f"none yet, for one seed is no comparison ({_points(list(gains), gains)}); make more with --seeds 0 1 2."
    better = [who for who, gain in gains.items() if gain.clear and gain.mean > 0]
    worse = [who for who, gain in gains.items() if gain.clear and gain.mean < 0]
    unclear = [who for who in gains if who not in better + worse]
    seeds = f"by 95 % intervals over {max(gain.n for gain in gains.values())} seeds"
    if not better + worse:
        return f"ICC is shown neither to help nor to harm, {seeds}: {_points(unclear, gains)}."
    parts = [
        f"{verb}{' in' if len(many) > NAMED else ''} {_points(many, gains)}"
        for verb, many in (("helps", better), ("harms", worse))
        if many
    ]
    if unclear:
        parts.append(f"is shown to do neither {'in' if len(unclear) > NAMED else 'for'} {_points(unclear, gains)}")
    return f"ICC {', '.join(parts[:-1])}{' and ' if len(parts) > 1 else ''}{parts[-1]}, {seeds}."


def _points(who: Sequence[str], gains: dict[str, Difference]) -> str:
    if len(who) > NAMED:
        return f"{len(who)} of {len(gains)} comparisons"
    return ", ".join(f"{one} ({signed(gains[one].mean)} points)" for one in who)
