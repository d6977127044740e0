"""From run folders to a report that every format can write."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.tables.formats.text import one_line
from mdistiller_icc.tables.grouping import SELECTIONS, group
from mdistiller_icc.tables.layout import METRICS, layout
from mdistiller_icc.tables.records import LeftOut
from mdistiller_icc.tables.search import find
from mdistiller_icc.tables.sheets import Section


@dataclass(slots=True)
class Report:
    """The sections to show, the runs that are in none of them, and pictures of the embedding geometry."""

    sections: list[Section]
    left_out: list[LeftOut]
    pictures: list[str]
    metric: str
    select: str
    runs: int


def collect(
    folders: Iterable[str | os.PathLike[str]],
    select: str = "last",
    metric: str = "top1",
    pictures: Sequence[str | os.PathLike[str]] = (),
) -> Report:
    """Read every run below the folders and lay out its tables.

    Args:
        folders: searched for ``record.json`` files, at any depth.
        select: the accuracy of a run: ``last`` (epoch), ``mean10`` (of the last ten), ``best`` (test epoch)
            or ``heldout`` (the epoch chosen on images held out of the training set).
        metric: ``top1`` or ``top5``.
        pictures: PNG files to show; without any, those named ``geometry*`` below the folders.

    Raises:
        UserError: a folder is missing or holds no run, no run is finished, or a word is not one of the above.
    """
    for word, words in ((select, SELECTIONS), (metric, METRICS)):
        if word not in words:
            raise UserError(f"'{word}' is none of {', '.join(words)}{nearest(word, words)}")
    for picture in pictures:
        if not os.path.isfile(picture):
            raise UserError(f"{picture}: no such picture")
    folders = list(folders)
    found = find(folders)
    groups, unplaced = group(found.runs, metric, select)
    left_out = sorted({*found.left_out, *unplaced}, key=lambda run: (run.folder, run.reason))
    if not groups:
        first = left_out[0]
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise UserError(one_line(f"no finished run to tabulate; {first.folder}: {first.reason}{more}"))
    shown = [os.fspath(picture) for picture in pictures] or found.pictures
    runs = len({run.folder for run in found.runs} - {run.folder for run in left_out})
    return Report(layout(groups, metric, select), left_out, shown, metric, select, runs)
