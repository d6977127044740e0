"""LaTeX: booktabs tables, in a document that compiles as it stands and can be read into another one."""

from __future__ import annotations

import re
from itertools import groupby

from mdistiller_icc.tables.records import Column
from mdistiller_icc.tables.report import UNPUBLISHED, Report, Section, Sheet, Shown
from mdistiller_icc.tables.text import one_line

SUFFIX = ".tex"

BEGIN = r"""% Compiles as it stands.
% In a paper: \usepackage{booktabs} in the preamble, then \def\tablesonly{} and \input this file.
\ifdefined\tablesonly\else
\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage{booktabs}
\usepackage[margin=2cm]{geometry}
\begin{document}
\fi
"""
UNPUBLISHED_HERE = r"n.\,p."
ROOM = 95
"""About how many characters of cells in footnotesize fit on a line of 14 cm, the narrowest that conferences have."""
LONG = 45
"""Characters of a row's words that are set on one line; longer ones are set on lines of 6.5 cm."""
END = r"""\ifdefined\tablesonly\else\end{document}\fi
"""
SPECIAL = {
    **{c: "\\" + c for c in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"},
    **{"→": r"$\rightarrow$", "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "–": "--", "’": "'"},
    **{"[": "{[}", "]": "{]}", "-": "{-}", "'": r"{'}", "`": r"\textasciigrave{}"},
}


def write(report: Report) -> str:
    """The report as LaTeX."""
    parts = [BEGIN]
    for section in report.sections:
        parts += [_tables(section, sheet) for sheet in section.sheets]
        parts.append("\\ifdefined\\tablesonly\\else\\clearpage\\fi\n")
    if report.left_out:
        items = "".join(f"  \\item {escape(run.folder)}: {escape(run.reason)}\n" for run in report.left_out)
        title = f"\\paragraph{{Left out ({len(report.left_out)})}}"
        parts.append(f"\\ifdefined\\tablesonly\\else\n{title}\n\\begin{{itemize}}\n{items}\\end{{itemize}}\n\\fi\n")
    return "\n".join([*parts, END])


def _tables(section: Section, sheet: Sheet) -> str:
    """The sheet as one table, or as several of fewer columns where one would be shrunk beyond reading."""
    cells = [[_place(place) for place in line.places] for line in sheet.lines]
    widths = [max(len(re.sub(r"\\\w+|\W", "", row[i])) for row in cells) + 4 for i in range(len(sheet.heads))]
    labels = sum(max(min(len(line.labels[i]), LONG) for line in sheet.lines) + 2 for i in range(len(sheet.keys)))
    parts = sheet.parts(widths, ROOM - labels)
    return "\n".join(_table(section, sheet, cells, parts, i) for i in range(len(parts)))


def _table(section: Section, sheet: Sheet, cells: list[list[str]], parts: list[list[int]], part: int) -> str:
    keys, columns = len(sheet.keys), parts[part]
    counted = f" ({part + 1} of {len(parts)})" if len(parts) > 1 else ""
    caption = f"\\textbf{{{escape(section.heading)}. {escape(sheet.title)}{counted}.}} {escape(sheet.caption)}"
    lines = [
        "\\begin{table}[htbp]",
        "\\centering",
        f"\\caption{{{caption} Protocol: {escape(section.protocol)}.}}",
        f"\\label{{{_label(section, sheet)}{f':{part + 1}' if len(parts) > 1 else ''}}}",
        "\\smallskip",
        "\\footnotesize\\setlength{\\tabcolsep}{4pt}",
        f"\\begin{{tabular}}{{{'l' * keys}{'r' * len(columns)}}}",
        "\\toprule",
        *_header(sheet, columns),
    ]
    above = ""
    for i, line in enumerate(sheet.lines):
        lines += ["\\midrule"] * (line.first and (i == 0 or sheet.kind != "gains"))
        labels = [_words(label) for label in line.labels]
        repeated = keys > 1 and not line.first and line.labels[0] == above
        above = line.labels[0]
        shown = ["", *labels[1:]] if repeated else labels
        lines.append(" & ".join([*shown, *(cells[i][at] for at in columns)]) + r" \\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    notes = _notes(sheet) if part == len(parts) - 1 else f"Notes: below part {len(parts)}."
    if notes:
        lines.append(f"\\par\\smallskip\n\\parbox{{\\linewidth}}{{\\footnotesize {notes}}}")
    return "\n".join([*lines, "\\end{table}", ""])


def _label(section: Section, sheet: Sheet) -> str:
    """``tab:cifar100:students``, by which a text refers to the table; with the pair whose figures it has."""
    names = section.heading, sheet.kind, "-".join(sheet.of)
    return ":".join(["tab", *filter(None, (re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") for name in names))])


def _notes(sheet: Sheet) -> str:
    short = [f"{UNPUBLISHED_HERE}: {UNPUBLISHED.text}."] if UNPUBLISHED in sheet.shown() else []
    return " ".join([*sheet.legend(_marked), *short, *map(escape, sheet.notes)])


def _header(sheet: Sheet, columns: list[int]) -> list[str]:
    keys, heads = [escape(key) for key in sheet.keys], [sheet.heads[i] for i in columns]
    if not any(head.part for head in heads):
        return [" & ".join([*keys, *(_column(head.column) for head in heads)]) + r" \\"]
    top, rules, at = [""] * len(keys), [], len(keys) + 1
    for name, parts in groupby(heads, key=lambda head: head.column):
        span = len(list(parts))
        top.append(f"\\multicolumn{{{span}}}{{{'c' if span > 1 else 'r'}}}{{{_column(name)}}}")
        rules.append(f"\\cmidrule(lr){{{at}-{at + span - 1}}}")
        at += span
    return [" & ".join(top) + r" \\", "".join(rules), " & ".join([*keys, *(head.part for head in heads)]) + r" \\"]


def _column(column: Column) -> str:
    if len(column) > 1:
        return "\\shortstack[r]{{{}\\\\ $\\rightarrow$ {}}}".format(*map(escape, column))
    return escape(column[0])


def _words(label: str) -> str:
    text = escape(label)
    return text if len(label) <= LONG else f"\\parbox[t]{{6.5cm}}{{\\raggedright {text}\\strut}}"


def _place(place: Shown | None) -> str:
    if place is None:
        return ""
    if place == UNPUBLISHED:
        return UNPUBLISHED_HERE
    numbers = escape(place.text + place.spread)
    text = _marked(re.sub(r"(?:\$(-)\$|(\+))(\d+\.\d+)", r"$\1\2\3$", numbers), place.rank)
    return f"{text} ({place.count})" if place.count else text


def _marked(text: str, rank: str | None) -> str:
    return {"best": f"\\textbf{{{text}}}", "second": f"\\underline{{{text}}}"}.get(rank or "", text)


def escape(text: str) -> str:
    r"""The text for LaTeX; characters that pdflatex cannot set are given as their code point.

    >>> escape("wrn_40_2 → 5 %")
    'wrn\\_40\\_2 $\\rightarrow$ 5 \\%'
    """
    out = []
    for c in one_line(text):
        if c in SPECIAL:
            out.append(SPECIAL[c])
        else:
            out.append(c if re.match(r"[ -~À-ÖØ-öø-ÿ]", c) else f"{{[}}U+{ord(c):04X}{{]}}")
    return "".join(out)
