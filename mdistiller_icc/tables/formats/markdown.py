"""Markdown: aligned pipe tables that read well in a terminal too."""

from __future__ import annotations

import re
import textwrap
import unicodedata

from mdistiller_icc.tables.formats.columns import chunks
from mdistiller_icc.tables.formats.text import accuracy, column, one_line, points
from mdistiller_icc.tables.report import Report
from mdistiller_icc.tables.sheets import Accuracy, Head, Points, Published, Sheet, Shown, Unpublished

LEGEND = {
    frozenset({"best"}): "**Best** distilled student of each column.",
    frozenset({"best", "second"}): "**Best** and *second best* distilled student of each column.",
}


def write(report: Report, width: int | None = None) -> str:
    """The report as Markdown.

    Args:
        width: of a line: text is wrapped and tables are split by columns to fit; None leaves both whole.
    """
    blocks = []
    for section in report.sections:
        blocks += [f"# {_escape(section.heading)}", _wrap(f"Protocol: {_escape(section.protocol)}.", width)]
        for sheet in section.sheets:
            blocks += [f"## {sheet.title}", _wrap(_escape(sheet.caption), width), *_tables(sheet, width)]
            notes = [LEGEND[frozenset(sheet.marks)]] if sheet.marks else []
            blocks += _list([*notes, *map(_escape, sheet.notes)], width)
    if report.left_out:
        blocks.append(f"## Left out ({len(report.left_out)})")
        blocks += _list([f"{_escape(run.folder)}: {_escape(run.reason)}" for run in report.left_out], width)
    return "\n\n".join(blocks) + "\n"


def _list(items: list[str], width: int | None) -> list[str]:
    return ["\n".join(_wrap(f"- {item}", width, "  ") for item in items)] if items else []


def _wrap(text: str, width: int | None, indent: str = "") -> str:
    if width is None:
        return text
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _tables(sheet: Sheet, width: int | None) -> list[str]:
    rows = [[_escape(label) for label in line.labels] + [_cell(cell) for cell in line.cells] for line in sheet.lines]
    header = [*sheet.keys, *(_head(head) for head in sheet.heads)]
    keys = len(sheet.keys)
    widths = [max(3, *(_width(row[i]) for row in [header, *rows])) for i in range(len(header))]
    tables = []
    room = None if width is None else width - 1 - sum(w + 3 for w in widths[:keys])
    for chunk in chunks(sheet.heads, [w + 3 for w in widths[keys:]], room):
        kept = [*range(keys), *(keys + i for i in chunk)]
        rule = ["-" * widths[i] if i < keys else "-" * (widths[i] - 1) + ":" for i in kept]
        lines = [[_pad(row[i], widths[i], i >= keys) for i in kept] for row in [header, *rows]]
        lines.insert(1, rule)
        tables.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return tables


def _head(head: Head) -> str:
    return head.part if head.part == "published" else _escape(column(head.column))


def _cell(cell: Shown) -> str:
    match cell:
        case Accuracy():
            text = accuracy(cell.summary)
            text = {"best": f"**{text}**", "second": f"*{text}*"}.get(cell.mark, text)
            return f"{text} ({cell.summary.n})" if cell.counted else text
        case Points():
            text = points(cell.difference)
            return f"{text} ({cell.difference.n})" if cell.counted else text
        case Published():
            return f"{cell.fact.value:.2f} [{cell.reference}]"
        case Unpublished():
            return cell.text
    return ""


def _escape(text: str) -> str:
    return re.sub(r"([|`*\\]|<(?=[A-Za-z/!?])|(?<!\w)_|_(?!\w))", r"\\\1", one_line(text))


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)
