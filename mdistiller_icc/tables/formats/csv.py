"""CSV: one row per cell, with everything that is known about it, and one per run that was left out."""

from __future__ import annotations

import csv
import io
from typing import Any

from mdistiller_icc.tables.entries import FIELDS, entries, left_out
from mdistiller_icc.tables.report import Report
from mdistiller_icc.tables.text import harmless

SUFFIX = ".csv"


def write(report: Report) -> str:
    """The report as CSV; lists are separated by spaces, unknown values are empty."""
    file = io.StringIO()
    table = csv.DictWriter(file, FIELDS, restval="", lineterminator="\n", extrasaction="ignore")
    table.writeheader()
    for entry in [*entries(report), *left_out(report)]:
        table.writerow({key: _text(value) for key, value in entry.items()})
    return file.getvalue()


def _text(value: Any) -> Any:
    if isinstance(value, list):
        value = " ".join(map(str, value))
    return "" if value is None else harmless(value) if isinstance(value, str) else value
