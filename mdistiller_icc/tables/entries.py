"""Cells and what was left out as flat dictionaries, for the formats that programs read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mdistiller_icc.tables.cells import Cell
from mdistiller_icc.tables.report import Report
from mdistiller_icc.tables.settings import describe

FIELDS = (
    *("entry", "dataset", "protocol", "method", "settings", "teacher_kind", "teacher_recipe", "teacher", "student"),
    *("metric", "select", "n", "mean", "std", "seeds", "values", "rank"),
    *("gain", "gain_low", "gain_high", "gain_n", "gain_over"),
    *("published", "published_epoch", "published_protocol", "source", "tier", "folder", "reason"),
    *("num_classes", "num_train", "num_test", "gain_note"),  # new ones at the end, where they move no other
)
"""What a line of the CSV holds; JSON has the settings as they were recorded and the folders besides."""


def entries(report: Report) -> Iterator[dict[str, Any]]:
    """Every cell, section by section; what is not known of it is left out."""
    return (_entry(cell) for section in report.sections for cell in section.cells)


def left_out(report: Report) -> Iterator[dict[str, Any]]:
    """Every run that is in no cell."""
    return ({"entry": "left out", "folder": run.folder, "reason": run.reason} for run in report.left_out)


def _entry(cell: Cell) -> dict[str, Any]:
    teacher = cell.column[0] if len(cell.column) > 1 else None
    entry: dict[str, Any] = {
        "dataset": cell.dataset,
        **dict(zip(("num_classes", "num_train", "num_test"), cell.images, strict=True)),
        "protocol": describe(cell.protocol),
        "protocol_settings": dict(cell.protocol),
        "metric": cell.metric,
        "select": cell.select,
        "entry": cell.entry,
    }
    if cell.records:
        settings = dict(cell.records[0].settings)
        entry |= {"method": cell.method, "settings": cell.settings, "method_settings": settings}
    entry |= {
        "teacher_kind": cell.kind if cell.entry in ("distilled", "teacher used") else None,
        "teacher_recipe": cell.recipe,
        "teacher": teacher,
        "student": cell.column[-1],
        "n": cell.summary.n,
        "mean": _rounded(cell.summary.mean),
        "std": _rounded(cell.summary.std),
    }
    if cell.records:
        entry["seeds"] = [record.seed for record in cell.records]
        entry["values"] = list(cell.values)
        entry["folders"] = [record.folder for record in cell.records]
    if cell.entry == "distilled":
        entry["rank"] = cell.rank
    if cell.gain:
        entry["gain_note"] = cell.gain.note
    if cell.gain and (difference := cell.gain.difference):
        low, high = difference.interval or (None, None)
        entry |= {"gain": _rounded(difference.mean), "gain_low": _rounded(low), "gain_high": _rounded(high)}
        entry |= {"gain_n": difference.n, "gain_over": cell.gain.over}
    if cell.published:
        source = cell.published.source
        entry |= {"published": cell.published.value, "published_epoch": source.epoch}
        entry |= {"published_protocol": source.protocol, "source": source.name, "tier": source.tier}
    return entry


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
