"""Tables of finished runs: records in, published values beside them, Markdown, LaTeX, CSV, JSON or HTML out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from importlib import import_module

from mdistiller_icc.errors import UserError, nearest

FORMATS = {"md": "markdown", "latex": "latex", "csv": "csv", "json": "json", "html": "html"}


def render(
    folders: Iterable[str | os.PathLike[str]],
    format: str = "md",
    select: str = "last",
    metric: str = "top1",
    pictures: Sequence[str | os.PathLike[str]] = (),
    width: int | None = None,
) -> str:
    """The tables of all runs below the folders, as text.

    >>> print(render(["output"]))  # doctest: +SKIP

    Args:
        folders: searched for ``record.json`` files, at any depth.
        format: ``md``, ``latex``, ``csv``, ``json`` or ``html``.
        select: ``last``, ``mean10``, ``best`` or ``heldout``; see `mdistiller_icc.tables.report.collect`.
        metric: ``top1`` or ``top5``.
        pictures: PNG files for the HTML page; without any, those named ``geometry*`` below the folders.
        width: of a line of Markdown: wrap text and split tables by columns to fit.

    Raises:
        UserError: nothing can be tabulated, or an argument is not one of the words above.
    """
    from mdistiller_icc.tables.report import collect

    if format not in FORMATS:
        raise UserError(f"'{format}' is none of {', '.join(FORMATS)}{nearest(format, FORMATS)}")
    report = collect(folders, select, metric, pictures)
    write = import_module(f"mdistiller_icc.tables.formats.{FORMATS[format]}").write
    return write(report, width) if format == "md" else write(report)
