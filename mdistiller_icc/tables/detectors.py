"""Tables of detectors: beside box AP, method by pair, every average precision of a pair's runs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mdistiller_icc.tables.beside import accuracy
from mdistiller_icc.tables.cells import Cell, columns
from mdistiller_icc.tables.grouping import group
from mdistiller_icc.tables.layout import labels
from mdistiller_icc.tables.metrics import AP
from mdistiller_icc.tables.records import Column, Record
from mdistiller_icc.tables.report import Head, Line, Section, Sheet
from mdistiller_icc.tables.text import CHOSEN, headed, teacher_named

VAL2017 = 5000
"""Images of COCO's val2017."""
PUBLISHED = {
    "fasterrcnn_resnet50_fpn": "37.0", "fasterrcnn_resnet50_fpn_v2": "46.7",
    "fasterrcnn_mobilenet_v3_large_fpn": "32.8", "fasterrcnn_mobilenet_v3_large_320_fpn": "22.8",
    "maskrcnn_resnet50_fpn": "37.9, masks 34.6", "maskrcnn_resnet50_fpn_v2": "47.4, masks 41.8",
}  # fmt: skip
"""AP on val2017 of the weights that torchvision publishes, as it says itself [A]."""


def with_every_figure(
    sections: list[Section], records: Collection[Record], select: str, published: bool
) -> list[Section]:
    """Add to the sections of box AP a sheet of every figure for each pair, and for the networks alone.

    Args:
        records: the detectors' runs.
        select: how a figure is chosen among a run's epochs.
        published: tell what torchvision says of its own weights.
    """
    found = {
        (metric, *_line(cell)): cell for metric in AP for cell in group(records, metric, select)[0]
    }  # what lacks one figure is no reason to leave its run out
    for section in sections:
        for column in columns(section.cells):
            section.sheets.append(_sheet(column, section.cells, found, published))
    return sections


def _line(cell: Cell) -> tuple[Any, ...]:
    method = cell.method, cell.settings, cell.kind, cell.recipe
    return cell.dataset, cell.images, cell.protocol, cell.entry, cell.column, *method


def _labels(cell: Cell) -> list[str]:
    return ["Trained alone", teacher_named(cell.kind, "")] if cell.entry == "network" else labels(cell)


def _sheet(column: Column, cells: list[Cell], found: dict[tuple[Any, ...], Cell], published: bool) -> Sheet:
    lines = [cell for cell in cells if cell.column == column]
    metrics = [metric for metric in AP if any((metric, *_line(cell)) in found for cell in lines)]
    n = max(cell.summary.n for cell in lines)
    rows = [
        Line(_labels(cell), [accuracy(found.get((metric, *_line(cell))), n) for metric in metrics], True)
        for cell in lines
    ]
    of = f"{CHOSEN[cells[0].select]}, n = {n}" if n > 1 else CHOSEN[cells[0].select]
    notes = []
    if published and column[0] in PUBLISHED and (cells[0].dataset, cells[0].images[2]) == ("coco", VAL2017):
        notes.append(f"Published for {column[0]}: box AP {PUBLISHED[column[0]]} [torchvision's own figures; tier A].")
    heads = [Head((AP[metric],)) for metric in metrics]
    caption = f"Average precision in % as pycocotools measures it, {of}."
    kind, title = "students" if len(column) > 1 else "networks", f"Every figure: {headed(column)}"
    return Sheet(kind, title, caption, ["Method", "Teacher"], heads, rows, notes, column)
