"""HTML: one page that needs nothing else, with sortable tables, accuracy curves and the geometry pictures."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

from mdistiller_icc.errors import UserError
from mdistiller_icc.tables.curves import band
from mdistiller_icc.tables.formats.svg import Curve, accuracy_range, chart, interval
from mdistiller_icc.tables.formats.text import accuracy, column, one_line, points
from mdistiller_icc.tables.layout import CHOSEN, METRICS, named, teacher_named
from mdistiller_icc.tables.report import Report
from mdistiller_icc.tables.rows import Column, Pair, Row
from mdistiller_icc.tables.sheets import Accuracy, Points, Published, Section, Sheet, Shown, Unpublished

MOST_CHARTS = 150
"""Curves are drawn for that many charts at most; the page says so when there would be more."""

LEGEND = {
    frozenset({"best"}): '<span class="best">Best</span> distilled student of each column.',
    frozenset({"best", "second"}): '<span class="best">Best</span> and <span class="second">second best</span> '
    "distilled student of each column.",
}


def write(report: Report) -> str:
    """The report as one HTML page.

    Raises:
        UserError: a picture is not a PNG file.
    """
    here = Path(__file__)
    style = here.with_name("page.css").read_text(encoding="utf-8")
    script = here.with_name("page.js").read_text(encoding="utf-8")
    counts = [f"{report.runs} run{'s' * (report.runs != 1)}"]
    counts += [f"{METRICS[report.metric]} accuracy, {CHOSEN[report.select]}"]
    counts += [f'<a href="#left-out">{len(report.left_out)} left out</a>'] if report.left_out else []
    body = [f"<header><h1>Distillation results</h1><p>{' · '.join(counts)}</p>{_contents(report)}</header>", "<main>"]
    room = MOST_CHARTS
    for i, section in enumerate(report.sections):
        body.append(f'<section id="section-{i}"><h2>{_text(section.heading)}</h2>')
        body.append(f'<p class="protocol"><b>Protocol</b> {_text(section.protocol)}</p>')
        body += [_sheet(sheet) for sheet in section.sheets]
        panels = list(_panels(section))
        body += [_curves(panels, room, report.metric, f"curve-{i}"), "</section>"]
        room = max(0, room - len(panels))
    if report.pictures:
        figures = "".join(map(_picture, report.pictures))
        body.append(f'<section><h2>Embedding geometry</h2><div class="pictures">{figures}</div></section>')
    if report.left_out:
        rows = "".join(f"<tr><td>{_text(run.folder)}<td>{_text(run.reason)}" for run in report.left_out)
        table = f'<div class="scroll"><table><thead><tr><th>Run folder<th>Reason<tbody>{rows}</table></div>'
        body.append(
            f'<section id="left-out" class="left-out"><h2>Left out ({len(report.left_out)})</h2>{table}</section>'
        )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Distillation results</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(filter(None, body))
        + f"\n</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _contents(report: Report) -> str:
    if len(report.sections) < 2:
        return ""
    links = (f'<a href="#section-{i}">{_text(s.heading)}</a>' for i, s in enumerate(report.sections))
    return f"<nav>{''.join(links)}</nav>"


def _sheet(sheet: Sheet) -> str:
    reach = _reach(sheet)
    rows = []
    for i, line in enumerate(sheet.lines):
        heads = "".join(f'<th scope="row">{_text(name)}' for name in line.labels)
        cells = "".join(_cell(cell, reach) for cell in line.cells)
        ruled = ' class="first"' if line.first and i and sheet.kind == "students" else ""
        rows.append(f"<tr{ruled}>{heads}{cells}")
    notes = [LEGEND[frozenset(sheet.marks)]] if sheet.marks else []
    notes += [_text(note) for note in sheet.notes]
    below = f'<ul class="notes">{"".join(f"<li>{note}" for note in notes)}</ul>' if notes else ""
    caption = f"<figcaption><b>{_text(sheet.title)}.</b> {_text(sheet.caption)}</figcaption>"
    table = f'<div class="scroll"><table>{_header(sheet)}<tbody>{"".join(rows)}</table></div>'
    return f'<figure class="sheet {sheet.kind}">{caption}{table}{below}</figure>'


def _header(sheet: Sheet) -> str:
    """One row of sortable heads, or two where a pair has a published column beside ours."""
    double = any(head.part for head in sheet.heads)
    span = ' rowspan="2"' if double else ""
    at = len(sheet.keys)
    top = [_sortable(i, _text(key), f'{span} class="key"') for i, key in enumerate(sheet.keys)]
    below = []
    for name, heads in groupby(sheet.heads, key=lambda head: head.column):
        parts = [head.part for head in heads]
        if len(parts) == 1:
            top.append(_sortable(at, _column(name), span))
        else:
            top.append(f'<th class="pair" colspan="2">{_column(name)}')
            below += [_sortable(at + i, part) for i, part in enumerate(parts)]
        at += len(parts)
    return f"<thead><tr>{''.join(top)}" + (f"<tr>{''.join(below)}" if double else "")


def _sortable(at: int, text: str, attributes: str = "") -> str:
    return f'<th{attributes} data-column="{at}" aria-sort="none"><button type="button">{text}</button>'


def _column(name: Column) -> str:
    if isinstance(name, Pair):
        return f"<span>{_text(name.teacher)}</span> → <span>{_text(name.student)}</span>"
    return _text(name)


def _cell(cell: Shown, reach: float) -> str:
    match cell:
        case Accuracy(summary, mark, counted):
            text = accuracy(summary).replace(" ± ", '<span class="std"> ± ') + "</span>" * (summary.std is not None)
            text = f'<span class="{mark}">{text}</span>' if mark else text
            return f'<td data-value="{summary.mean:.6f}">{text}{_count(counted, summary.n)}'
        case Points(difference, counted):
            said = points(difference).replace(" [", ' <span class="std">[') + "</span>" * (
                difference.interval is not None
            )
            tone = ("up" if difference.mean > 0 else "down") if difference.clear else "open"
            drawn = interval(difference, reach)
            return f'<td class="{tone}" data-value="{difference.mean:.6f}">{drawn}{said}{_count(counted, difference.n)}'
        case Published(fact, reference):
            title = f'title="{escape(str(fact.source))}"'
            return f'<td class="published" data-value="{fact.value}" {title}>{fact.value:.2f} <sup>{reference}</sup>'
        case Unpublished():
            return f'<td class="published none">{cell.text}'
    return "<td>"


def _count(counted: bool, n: int) -> str:
    return f' <span class="n">({n})</span>' if counted else ""


def _reach(sheet: Sheet) -> float:
    """How far the axis of the gains goes: far enough for four in five of the intervals."""
    gains = [cell.difference for line in sheet.lines for cell in line.cells if isinstance(cell, Points)]
    ends = sorted(max(map(abs, gain.interval or (gain.mean,))) for gain in gains)
    return max(ends[len(ends) * 4 // 5] if ends else 1.0, 1e-6)


@dataclass(slots=True)
class _Panel:
    """One chart to be: its heading, its title and the rows whose cells of one column it shows."""

    heading: str
    title: str
    rows: list[Row]
    column: Column


def _panels(section: Section) -> Iterator[_Panel]:
    """Per pair a chart for each method, with a curve for each teacher; per architecture one for the networks."""
    group = section.group
    for pair in group.pairs:
        alone = [row for row in group.alone if pair.student in row.cells]
        if alone:
            yield _Panel(column(pair), "Student alone", alone, pair.student)
        here = [row for row in group.rows if pair in row.cells]
        for (method, settings), rows in groupby(here, key=lambda row: (row.method, row.settings)):
            yield _Panel(column(pair), named(method, settings), list(rows), pair)
    for architecture in group.architectures:
        here = [row for row in group.networks if architecture in row.cells]
        yield _Panel("Trained without a teacher", architecture, here, architecture)


def _curves(panels: list[_Panel], room: int, metric: str, identity: str) -> str:
    """The charts under one fold, those of one heading on one scale."""
    blocks, kinds = [], {}
    for heading, under in groupby(panels[:room], key=lambda panel: panel.heading):
        drawn = [(panel, curves) for panel in under if (curves := _read(panel, metric))]
        if not drawn:
            continue
        limits = accuracy_range([curve for _, curves in drawn for curve in curves])
        figures = []
        for panel, curves in drawn:
            kinds |= {curve.style: curve.name for curve in curves}
            name = f"{identity}-{len(blocks)}-{len(figures)}"
            svg = chart(curves, limits, f"{panel.title}: accuracy over the epochs", name)
            figures.append(f"<figure><figcaption>{_text(panel.title)}</figcaption>{svg}</figure>")
        blocks.append(f'<h3>{_text(heading)}</h3><div class="charts">{"".join(figures)}</div>')
    if not blocks:
        return ""
    keys = "".join(f'<span><i class="{style}"></i>{_text(name)}</span>' for style, name in kinds.items())
    said = f"<p>Test accuracy in % over the epochs: mean and range over seeds.</p><p class='key'>{keys}</p>"
    if len(panels) > room:
        said += f"<p>The other {len(panels) - room} charts are left out to keep the page small.</p>"
    return f'<details class="curves" open><summary>Accuracy curves</summary>{said}{"".join(blocks)}</details>'


def _read(panel: _Panel, metric: str) -> list[Curve]:
    curves: list[Curve] = []
    for row in panel.rows:
        found = band((run.folder for run in row.cells[panel.column].runs), metric)
        if found is not None:
            rivals = sum(curve.style.split()[0] == row.kind for curve in curves)
            recipe = row.recipe or ("" if isinstance(panel.column, Pair) else row.settings)
            style = f"{row.kind} dash{rivals % 4}" if rivals else row.kind
            curves.append(Curve(teacher_named(row.kind, recipe), style, found))
    return curves


def _picture(path: str) -> str:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise UserError(f"{path}: is not a PNG picture")
    name = _text(os.path.splitext(os.path.basename(path))[0].replace("_", " "))
    place = _text(os.path.dirname(path))
    source = base64.b64encode(data).decode()
    image = f'<img alt="{name}" src="data:image/png;base64,{source}">'
    return f"<figure>{image}<figcaption>{name} <small>{place}</small></figcaption></figure>"


def _text(text: str) -> str:
    return escape(one_line(text))
