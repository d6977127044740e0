"""HTML: one page that needs nothing else, with sortable tables, accuracy curves and the studies' pictures."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from html import escape
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from mdistiller_icc.errors import UserError
from mdistiller_icc.tables.cells import Cell, columns
from mdistiller_icc.tables.curves import Curve, accuracy_range, chart, read
from mdistiller_icc.tables.metrics import METRICS
from mdistiller_icc.tables.records import Column
from mdistiller_icc.tables.report import Report, Sheet, Shown
from mdistiller_icc.tables.statistics import Difference
from mdistiller_icc.tables.text import CHOSEN, headed, named, one_line, teacher_named

SUFFIX = ".html"
MOST_CHARTS = 150
"""Curves are drawn for that many charts at most; the page says so when there would be more."""


def write(report: Report) -> str:
    """The report as one HTML page.

    Raises:
        UserError: a picture is not a PNG file.
    """
    here = Path(__file__)
    style = here.with_name("page.css").read_text(encoding="utf-8")
    script = here.with_name("page.js").read_text(encoding="utf-8")
    counts = [f"{report.runs} run{'s' * (report.runs != 1)}"]
    counts += [f"{METRICS[report.metric]}, {CHOSEN[report.select]}"]
    counts += [f'<a href="#left-out">{len(report.left_out)} left out</a>'] if report.left_out else []
    said = f"<h1>Distillation results</h1><p>{' · '.join(counts)}</p>{_contents(report)}{_filters(report)}"
    body = [f"<header>{said}</header>", "<main>"]
    room = MOST_CHARTS
    for i, section in enumerate(report.sections):
        body.append(f'<section id="section-{i}"><h2>{_text(section.heading)}</h2>')
        body.append(f'<p class="protocol"><b>Protocol</b> {_text(section.protocol)}</p>')
        body += [_sheet(sheet) for sheet in section.sheets]
        panels = list(_panels(section.cells))
        body += [_curves(panels, room, report.metric, f"curve-{i}"), "</section>"]
        room = max(0, room - len(panels))
    if report.pictures:
        figures = "".join(map(_picture, report.pictures))
        body.append(f'<section><h2>Pictures of the studies</h2><div class="pictures">{figures}</div></section>')
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


def _filters(report: Report) -> str:
    """Where there are several methods or pairs, a field to show some of them alone; the script makes it work."""
    cells = [cell for section in report.sections for cell in section.cells if cell.entry == "distilled"]
    methods = list(dict.fromkeys(named(cell.method, "") for cell in cells))
    pairs = [headed(column) for column in columns(cells)]
    fields = []
    for what, names in (("methods", methods), ("pairs", pairs)):
        if len(names) > 1:
            known = "".join(f'<option value="{_text(name)}">' for name in names)
            field = (
                f'<input type="search" data-filter="{what}" list="{what}" placeholder="all, or e.g. {_text(names[0])}">'
            )
            fields.append(f'<label>{what.capitalize()} {field}</label><datalist id="{what}">{known}</datalist>')
    return f'<form class="filters" hidden>{"".join(fields)}</form>' if fields else ""


def _sheet(sheet: Sheet) -> str:
    reach = _reach(sheet)
    rows = []
    for i, line in enumerate(sheet.lines):
        heads = "".join(f'<th scope="row">{_text(name)}' for name in line.labels)
        ruled = ' class="first"' if line.first and i and sheet.kind == "students" else ""
        rows.append(f"<tr{ruled}>{heads}{''.join(_place(place, reach) for place in line.places)}")
    notes = [*sheet.legend(_marked), *map(_text, sheet.notes)]
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
    for column, heads in groupby(sheet.heads, key=lambda head: head.column):
        parts = [head.part for head in heads]
        pair = f' data-pair="{_text(headed(sheet.of or column))}"'
        if len(parts) == 1:
            top.append(_sortable(at, _column(column), span + pair))
        else:
            top.append(f'<th class="pair" colspan="2"{pair}>{_column(column)}')
            below += [_sortable(at + i, part, pair) for i, part in enumerate(parts)]
        at += len(parts)
    return f"<thead><tr>{''.join(top)}" + (f"<tr>{''.join(below)}" if double else "")


def _sortable(at: int, text: str, attributes: str = "") -> str:
    return f'<th{attributes} data-column="{at}" aria-sort="none"><button type="button">{text}</button>'


def _column(column: Column) -> str:
    return " → ".join(f"<span>{_text(name)}</span>" for name in column) if len(column) > 1 else _text(column[0])


def _place(place: Shown | None, reach: float) -> str:
    if place is None:
        return "<td>"
    if place.value is None:
        return f'<td class="published none">{place.text}'
    if place.source:
        title = f'title="{escape(str(place.source))}"'
        return f'<td class="published" data-value="{place.value}" {title}>{place.text} <sup>{place.reference}</sup>'
    text = place.text + (f'<span class="std">{place.spread}</span>' if place.spread else "")
    count = f' <span class="n">({place.count})</span>' if place.count else ""
    if place.gain is None:
        return f'<td data-value="{place.value:.6f}">{_marked(text, place.rank)}{count}'
    tone = ("up" if place.value > 0 else "down") if place.gain.clear else "open"
    gain = f'<div class="gain">{_interval(place.gain, reach)}<span>{text}{count}</span></div>'
    return f'<td class="{tone}" data-value="{place.value:.6f}">{gain}'


def _marked(text: str, rank: str | None) -> str:
    return f'<span class="{rank}">{text}</span>' if rank else text


def _interval(gain: Difference, reach: float) -> str:
    """A gain as a dot with its interval on an axis from −reach to +reach; what goes beyond ends in an arrowhead."""
    width, middle = 84, 42

    def x(value: float) -> float:
        return middle + (middle - 4) * max(-1.0, min(1.0, value / reach))

    low, high = gain.interval or (gain.mean, gain.mean)
    beyond = "M4 3L1 6L4 9M1 6H4" * (low < -reach) + f"M{width - 4} 3l3 3l-3 3m3 -3h-3" * (high > reach)
    arrow = f'<path class="range" fill="none" d="{beyond}"/>' if beyond else ""
    return (
        f'<svg class="interval" viewBox="0 0 {width} 12" aria-hidden="true">'
        f'<line class="zero" x1="{middle}" x2="{middle}" y1="0" y2="12"/>'
        f'<line class="range" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="6" y2="6"/>{arrow}'
        f'<circle cx="{x(gain.mean):.1f}" cy="6" r="2.6"/></svg>'
    )


def _reach(sheet: Sheet) -> float:
    """How far the axis of the gains goes: far enough for four in five of the intervals."""
    gains = [place.gain for place in sheet.shown() if place.gain]
    ends = sorted(max(map(abs, gain.interval or (gain.mean,))) for gain in gains)
    return max(ends[len(ends) * 4 // 5] if ends else 1.0, 1e-6)


class _Panel(NamedTuple):
    """One chart to be: its heading, its title and the cells whose curves it shows."""

    heading: str
    title: str
    cells: list[Cell]


def _panels(cells: list[Cell]) -> Iterator[_Panel]:
    """Per pair a chart for each method, with a curve for each teacher; per architecture one for the networks."""
    drawn = [cell for cell in cells if cell.records]
    across = columns(cell for cell in drawn if cell.entry == "distilled")
    across += columns(cell for cell in drawn if cell.entry == "network")
    drawn.sort(key=lambda cell: across.index(cell.column))
    for (heading, title), several in groupby(drawn, key=_place_of_curve):
        yield _Panel(heading, title, [*several])


def _place_of_curve(cell: Cell) -> tuple[str, str]:
    if cell.entry == "network":
        return "Trained without a teacher", cell.column[0]
    return headed(cell.column), "Student alone" if cell.entry == "student alone" else named(cell.method, cell.settings)


def _curves(panels: list[_Panel], room: int, metric: str, identity: str) -> str:
    """The charts under one fold, those of one heading on one scale."""
    blocks: list[str] = []
    kinds: dict[str, str] = {}
    for heading, under in groupby(panels[:room], key=lambda panel: panel.heading):
        drawn = [(panel, curves) for panel in under if (curves := _read(panel.cells, metric))]
        if not drawn:
            continue
        limits = accuracy_range([curve for _, curves in drawn for curve in curves])
        figures: list[str] = []
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


def _read(cells: list[Cell], metric: str) -> list[Curve]:
    curves: list[Curve] = []
    for cell in cells:
        points = read((record.folder for record in cell.records), metric)
        if points:
            rivals = sum(curve.style.split()[0] == cell.kind for curve in curves)
            recipe = cell.recipe or ("" if cell.entry == "distilled" else cell.settings)
            style = f"{cell.kind} dash{rivals % 4}" if rivals else cell.kind
            curves.append(Curve(teacher_named(cell.kind, recipe), style, points))
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
