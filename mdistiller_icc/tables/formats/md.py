"""Markdown: aligned pipe tables that read well in a terminal too."""

from __future__ import annotations

import re
import textwrap
import unicodedata

from mdistiller_icc.tables.report import Head, Report, Sheet, Shown
from mdistiller_icc.tables.text import headed, one_line

SUFFIX = ".md"


def write(report: Report) -> str:
    """The report as Markdown; to the report's width text is wrapped and tables are split by columns."""
    blocks = []
    for section in report.sections:
        blocks += [f"# {_escape(section.heading)}", _wrap(f"Protocol: {_escape(section.protocol)}.", report.width)]
        for sheet in section.sheets:
            blocks += [f"## {sheet.title}", _wrap(_escape(sheet.caption), report.width), *_tables(sheet, report.width)]
            blocks += _list([*sheet.legend(_marked), *map(_escape, sheet.notes)], report.width)
    if report.left_out:
        blocks.append(f"## Left out ({len(report.left_out)})")
        blocks += _list([f"{_escape(run.folder)}: {_escape(run.reason)}" for run in report.left_out], report.width)
    return "\n\n".join(blocks) + "\n"


def _list(items: list[str], width: int | None) -> list[str]:
    return ["\n".join(_wrap(f"- {item}", width, "  ") for item in items)] if items else []


def _wrap(text: str, width: int | None, indent: str = "") -> str:
    if width is None:
        return text
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _tables(sheet: Sheet, width: int | None) -> list[str]:
    rows = [[*map(_escape, line.labels), *map(_place, line.places)] for line in sheet.lines]
    header = [*sheet.keys, *map(_head, sheet.heads)]
    keys = len(sheet.keys)
    widths = [max(3, *(_width(row[i]) for row in [header, *rows])) for i in range(len(header))]
    tables = []
    room = None if width is None else width - 1 - sum(w + 3 for w in widths[:keys])
    for part in sheet.parts([w + 3 for w in widths[keys:]], room):
        kept = [*range(keys), *(keys + i for i in part)]
        rule = ["-" * widths[i] if i < keys else "-" * (widths[i] - 1) + ":" for i in kept]
        lines = [[_pad(row[i], widths[i], i >= keys) for i in kept] for row in [header, *rows]]
        lines.insert(1, rule)
        tables.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return tables


def _head(head: Head) -> str:
    return head.part if head.part == "published" else _escape(headed(head.column))


def _place(place: Shown | None) -> str:
    if place is None:
        return ""
    text = _marked(place.text + place.spread, place.rank)
    return f"{text} ({place.count})" if place.count else text


def _marked(text: str, rank: str | None) -> str:
    return {"best": f"**{text}**", "second": f"*{text}*"}.get(rank or "", text)


def _escape(text: str) -> str:
    return re.sub(r"([|`*\\]|<(?=[A-Za-z/!?])|(?<!\w)_|_(?!\w))", r"\\\1", one_line(text))


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)
