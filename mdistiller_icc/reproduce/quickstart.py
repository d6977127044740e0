"""The quickstart: the table of that name, then what it shows."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from mdistiller_icc.reproduce import table as tables
from mdistiller_icc.reproduce.command import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the runs, print their table, the teachers' distances and where their t-SNE picture is; 1 if a run failed.

    Takes the arguments of ``tools/reproduce.py`` but for the table's name.
    """
    given = parse(["quickstart", *(sys.argv[1:] if arguments is None else arguments)])

    from mdistiller_icc.reproduce.study import Study  # after parsing: importing torch takes a second, --help must not
    from mdistiller_icc.reproduce.teacher_geometry import compare
    from mdistiller_icc.tables import render

    study = Study(tables.load(given.table), given.protocol, given.seeds, given.options, given.device, given.jobs)
    if given.plan:
        print(study.told())
        return 0
    if status := study.make(given.engine, given.address):
        return status
    print(f"\n{render([run.folder for run in study.runs], width=shutil.get_terminal_size().columns)}\n")
    compare([run for run in study.runs if run.role == "teacher"], study.devices[0])
    return 0
