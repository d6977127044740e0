"""CSV: one row per cell, with everything that is known about it, and one per run that was left out."""

from __future__ import annotations

import csv
import io
from typing import Any

from mdistiller_icc.tables.formats.flat import left_out, records
from mdistiller_icc.tables.report import Report

FIELDS = (
    *("entry", "dataset", "protocol", "method", "settings", "teacher_kind", "teacher_recipe", "teacher", "student"),
    *("metric", "select", "n", "mean", "std", "seeds", "values", "rank"),
    *("gain", "gain_low", "gain_high", "gain_n", "gain_over"),
    *("published", "published_epoch", "published_protocol", "source", "tier", "folder", "reason"),
)


def write(report: Report) -> str:
    """The report as CSV; lists are separated by spaces, unknown values are empty."""
    file = io.StringIO()
    table = csv.DictWriter(file, FIELDS, restval="", lineterminator="\n", extrasaction="ignore")
    table.writeheader()
    for entry in [*records(report), *left_out(report)]:
        table.writerow({key: _text(value) for key, value in entry.items()})
    return file.getvalue()


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else value
