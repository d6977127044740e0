"""Find the runs below some folders: those that can be tabulated, and the others with the reason they cannot."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.tables.records import LeftOut, Record, Unusable, read

RUN_FILES = {"config.yaml", "metrics.jsonl", "worklog.txt", "train.events"}
"""Any of these in a folder without a ``record.json`` means that a run was begun there."""


@dataclass(slots=True)
class Found:
    """What is below the folders: records, folders without a usable one, pictures of the embedding geometry."""

    records: list[Record] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)


def find(folders: Iterable[str | os.PathLike[str]]) -> Found:
    """Read every ``record.json`` below the folders, in the order of their paths; links are followed.

    Raises:
        UserError: one of the folders does not exist or holds no run at all.
    """
    found = Found()
    known: set[str] = set()
    for folder in [os.fspath(folder) for folder in folders]:
        if os.path.basename(folder) == "record.json":
            folder = os.path.dirname(folder) or "."
        if not os.path.isdir(folder):
            raise UserError(f"{folder}: no such folder{_sibling(folder)}")
        any_run = False
        for path, real, names in _walk(folder, found.left_out):
            is_run = "record.json" in names or not RUN_FILES.isdisjoint(names)
            any_run |= is_run
            if real in known:
                continue
            known.add(real)
            found.pictures += [os.path.join(path, name) for name in sorted(names) if _is_picture(path, name)]
            if is_run:
                try:
                    found.records.append(read(path))
                except Unusable as error:
                    found.left_out.append(LeftOut(path, str(error)))
        if not any_run:
            raise UserError(f"{folder}: no run records (record.json) in it or below it")
    return found


def _walk(folder: str, left_out: list[LeftOut]) -> Iterator[tuple[str, str, set[str]]]:
    """Every folder from this one down, once: its path, its real path and the names in it; see `_is_shown`."""

    def unreadable(error: OSError) -> None:
        left_out.append(LeftOut(str(error.filename), f"cannot be read: {error.strerror}"))

    seen: set[str] = set()
    for path, below, files in os.walk(folder, followlinks=True, onerror=unreadable):
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            yield path, real, {*below, *files}
            below[:] = sorted(name for name in below if name != "train.events" and _is_shown(os.path.join(path, name)))
        else:
            below.clear()


def _is_shown(folder: str) -> bool:
    """Whether to look into a folder: a hidden one only if it is a run of such a name, or a project of runs.

    One that ends in ``.before`` is a run that is being overwritten.
    """
    name = os.path.basename(folder)
    if name[0] != ".":
        return True
    runs = Path(folder)
    return not name.endswith(".before") and any(
        next(runs.glob(pattern), None) for pattern in ("record.json", "*/record.json")
    )


def _is_picture(path: str, name: str) -> bool:
    """Whether a study drew it: its name, or that of its folder, says what of."""
    drawn = ("geometry", "analysis")
    return name.endswith(".png") and (name.startswith(drawn) or os.path.basename(path).startswith(drawn))


def _sibling(folder: str) -> str:
    parent = os.path.dirname(os.path.normpath(folder)) or "."
    try:
        return nearest(os.path.basename(os.path.normpath(folder)), os.listdir(parent))
    except OSError:
        return ""
