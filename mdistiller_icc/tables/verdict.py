"""What a table's gains come to, in one sentence."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence

from mdistiller_icc.tables.cells import Cell
from mdistiller_icc.tables.grouping import group
from mdistiller_icc.tables.layout import sections
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
    columns = Counter(entry for entry, _column in {(cell.entry, cell.column) for cell in cells})
    parts = sections(cells, published=False)
    gains = [
        (_who(cell, columns[cell.entry] > 1, part.heading if len(parts) > 1 else ""), cell.gain.difference)
        for entry in ("network", "distilled")
        for part in parts
        for cell in part.cells
        if cell.entry == entry and cell.gain and cell.gain.difference
    ]
    return f"Verdict: {_sentence(gains)}"


def _who(cell: Cell, by_column: bool, heading: str) -> str:
    """What a comparison is of, in the words that tell it from all others."""
    who = named("the teacher" if cell.entry == "network" else cell.method, cell.settings)
    recipe = f" ({cell.recipe})" if cell.recipe else ""
    return who + recipe + f" {headed(cell.column)}" * by_column + (f" on {heading}" if heading else "")


Compared = tuple[str, Difference]
"""A comparison: what it is of, and what it came to."""


def _sentence(gains: Sequence[Compared]) -> str:
    if not gains:
        return "none, for nothing was trained from both a plain and an ICC teacher."
    if all(gain.interval is None for _who, gain in gains):
        return f"none yet, for one seed is no comparison ({_points(gains, gains)}); make more with --seeds 0 1 2."
    better = [one for one in gains if one[1].clear and one[1].mean > 0]
    worse = [one for one in gains if one[1].clear and one[1].mean < 0]
    unclear = [one for one in gains if one not in better + worse]
    seeds = f"by 95 % intervals over {max(gain.n for _who, gain in gains)} seeds"
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


def _points(some: Sequence[Compared], gains: Sequence[Compared]) -> str:
    if len(some) > NAMED:
        return f"{len(some)} of {len(gains)} comparisons"
    return ", ".join(f"{who} ({signed(gain.mean)} points)" for who, gain in some)
