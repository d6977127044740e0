"""JSON: the same entries as the CSV, with lists and the protocol's and the methods' settings as they were recorded."""

from __future__ import annotations

import json

from mdistiller_icc.tables.entries import entries, left_out
from mdistiller_icc.tables.report import Report

SUFFIX = ".json"


def write(report: Report) -> str:
    """The report as one JSON object with ``entries`` and ``left_out``."""
    head = {"schema": 1, "metric": report.metric, "select": report.select, "runs": report.runs}
    body = {"entries": list(entries(report)), "left_out": list(left_out(report))}
    return json.dumps(head | body, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
