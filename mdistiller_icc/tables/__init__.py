"""Tables of finished runs: records in, published values beside them, Markdown, LaTeX, CSV, JSON or HTML out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.tables.detectors import with_every_figure
from mdistiller_icc.tables.formats import FORMATS
from mdistiller_icc.tables.grouping import SELECTIONS, group, only
from mdistiller_icc.tables.layout import sections
from mdistiller_icc.tables.metrics import METRICS
from mdistiller_icc.tables.report import Report
from mdistiller_icc.tables.search import find
from mdistiller_icc.tables.text import one_line
from mdistiller_icc.tables.verdict import verdict

__all__ = ["FORMATS", "METRICS", "SELECTIONS", "render", "verdict"]


def render(
    folders: Iterable[str | os.PathLike[str]],
    format: str = "md",
    select: str = "last",
    metric: str | None = None,
    pictures: Sequence[str | os.PathLike[str]] = (),
    width: int | None = None,
    methods: Sequence[str] | None = None,
    pairs: Sequence[str] | None = None,
    published: bool = True,
) -> str:
    """The tables of all runs below the folders, as text.

    >>> print(render(["output"]))  # doctest: +SKIP

    Args:
        folders: searched for ``record.json`` files, at any depth.
        format: ``md``, ``latex``, ``csv``, ``json`` or ``html``.
        select: the accuracy of a run: ``last`` (epoch), ``mean10`` (of the last ten), ``best`` (test epoch)
            or ``heldout`` (the epoch chosen on images held out of the training set).
        metric: a key of `METRICS`; None: top-1 of classifiers, and every average precision of detectors.
        pictures: PNG files for the HTML page; without any, those named ``geometry*`` below the folders.
        width: of a line of Markdown: wrap text and split tables by columns to fit.
        methods: these alone, as records name them.
        pairs: these alone, ``TEACHER:STUDENT``.
        published: show published values beside ours.

    Raises:
        UserError: a folder is missing or holds no run, no run is finished, or a word is not one of the above.
    """
    for word, words in ((format, FORMATS), (select, SELECTIONS), (metric or "top1", METRICS)):
        if word not in words:
            raise UserError(f"'{word}' is none of {', '.join(words)}{nearest(word, words)}")
    for picture in pictures:
        if not os.path.isfile(picture):
            raise UserError(f"{picture}: no such picture")
    found = find(folders)
    records = only(found.records, methods, pairs)
    detectors = [record for record in records if record.detects]
    others = [record for record in records if not record.detects]
    first = metric or ("top1" if others or not detectors else "box_ap")
    cells, unplaced = group(records if metric else others, first, select)
    made = sections(cells, published)
    if detectors and not metric:
        of_boxes, without = group(detectors, "box_ap", select)
        made += with_every_figure(sections(of_boxes, published), detectors, select, published)
        cells, unplaced = cells + of_boxes, unplaced + without
    left_out = sorted({*found.left_out, *unplaced}, key=lambda run: (run.folder, run.reason))
    if not cells:
        told = left_out[0]
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise UserError(one_line(f"no finished run to tabulate; {told.folder}: {told.reason}{more}"))
    shown = [os.fspath(picture) for picture in pictures] or found.pictures
    runs = len({record.folder for cell in cells for record in cell.records})
    return FORMATS[format].write(Report(made, left_out, shown, first, select, runs, width))
