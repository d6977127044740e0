"""The cells of a report one by one, for the formats that programs read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mdistiller_icc.tables.grouping import PLAIN, Gain, Group
from mdistiller_icc.tables.layout import ranks
from mdistiller_icc.tables.published import lookup
from mdistiller_icc.tables.report import Report
from mdistiller_icc.tables.rows import Column, Pair, Row
from mdistiller_icc.tables.settings import describe
from mdistiller_icc.tables.statistics import Summary

Entry = dict[str, Any]


def records(report: Report) -> Iterator[Entry]:
    """Every cell: distilled students, the teachers they learnt from, students alone, and networks without a teacher.

    ``entry`` is ``distilled``, ``teacher used``, ``student alone`` or ``network``.
    """
    for section in report.sections:
        group = section.group
        common = {
            "dataset": group.dataset,
            "protocol": describe(group.protocol),
            "protocol_settings": dict(group.protocol),
            "metric": report.metric,
            "select": report.select,
        }
        for entry in _group(group, report.metric):
            yield common | entry


def left_out(report: Report) -> Iterator[Entry]:
    """Every run that is in no cell."""
    for run in report.left_out:
        yield {"entry": "left out", "folder": run.folder, "reason": run.reason}


def _group(group: Group, metric: str) -> Iterator[Entry]:
    marks = ranks(group)
    gains = {id(gain.row): gain for gain in [*group.gains, *group.network_gains]}
    for (kind, recipe), summaries in group.teachers.items():
        for pair, summary in summaries.items():
            made = {"entry": "teacher used", "teacher_kind": kind, "teacher_recipe": recipe}
            published = _published(group, pair, "teacher", metric) if kind in PLAIN else {}
            yield made | {"teacher": pair.teacher, "student": pair.student} | _summary(summary) | published
    for row in group.alone:
        for pair in group.pairs:
            if pair.student in row.cells:
                entry = _cell("student alone", row, pair.student)
                yield entry | {"teacher": pair.teacher} | _published(group, pair, "student", metric)
    for i, row in enumerate(group.rows):
        for pair in row.cells:
            entry = _cell("distilled", row, pair) | {"rank": marks.get((i, pair))} | _gain(gains.get(id(row)), pair)
            yield entry | (_published(group, pair, row.method, metric) if row.kind in PLAIN else {})
    for row in group.networks:
        for architecture in row.cells:
            yield _cell("network", row, architecture) | _gain(gains.get(id(row)), architecture)


def _cell(entry: str, row: Row, column: Column) -> Entry:
    cell = row.cells[column]
    teacher, student = column if isinstance(column, Pair) else (None, column)
    return {
        "entry": entry,
        "method": row.method,
        "settings": row.settings,
        "method_settings": dict(cell.runs[0].settings),
        "teacher_kind": row.kind if teacher else None,
        "teacher_recipe": row.recipe,
        "teacher": teacher,
        "student": student,
        **_summary(cell.summary),
        "seeds": [run.seed for run in cell.runs],
        "values": list(cell.values),
        "folders": [run.folder for run in cell.runs],
    }


def _summary(summary: Summary) -> Entry:
    return {"n": summary.n, "mean": round(summary.mean, 6), "std": summary.std and round(summary.std, 6)}


def _gain(gain: Gain | None, column: Column) -> Entry:
    difference = gain and gain.by_column.get(column)
    if not difference:
        return {}
    low, high = difference.interval or (None, None)
    ends = {"gain_low": low, "gain_high": high}
    rounded = {key: None if value is None else round(value, 6) for key, value in ends.items()}
    return {"gain": round(difference.mean, 6), **rounded, "gain_n": difference.n, "gain_over": gain.baseline}


def _published(group: Group, pair: Pair, method: str, metric: str) -> Entry:
    fact = lookup(group.dataset, *pair, method, metric)
    if fact is None:
        return {}
    source = fact.source
    said = {"published_epoch": source.epoch, "published_protocol": source.protocol}
    return {"published": fact.value, **said, "source": source.name, "tier": source.tier}
