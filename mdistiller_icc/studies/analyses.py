"""What a table asks to be worked out once its runs are finished: its ``analysis``."""

from __future__ import annotations

import csv
import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path

from mdistiller_icc.studies import curves, gain_by_spread
from mdistiller_icc.studies.feature_spaces import compare
from mdistiller_icc.studies.plan import PlannedRun
from mdistiller_icc.studies.results import Result, images_judged, markdown, results, save
from mdistiller_icc.studies.table import Table
from mdistiller_icc.tables import render, verdict


def analyse(table: Table, runs: Sequence[PlannedRun], device: str) -> None:
    """Print what the table's ``analysis`` asks for and write it beside the runs; every data set for itself.

    Numbers go into CSV and JSON files, pictures beside them where matplotlib is installed.
    """
    drawn = importlib.util.find_spec("matplotlib") is not None  # the extra `analysis`
    groups: dict[tuple[Path, str], list[PlannedRun]] = {}
    for run in runs:
        groups.setdefault((run.folder.parent, run.cfg.DATASET.TYPE), []).append(run)
    for (project, dataset), own in groups.items():
        suffix = f"{table.name}_{dataset}" if len(groups) > 1 else table.name
        for name, settings in table.analysis.items():
            if name == "accuracy":
                print(f"\n{render([run.folder for run in own], width=shutil.get_terminal_size().columns)}")
            elif name == "geometry":
                _geometry(own, device, project / f"geometry_{suffix}", drawn)
            else:
                _results(name, own, settings["share"], project / f"analysis_{suffix}", dataset, drawn)
    if table.analysis and not drawn:
        print("\nno pictures, which need matplotlib: pip install 'mdistiller_icc[analysis]'")
    if "accuracy" in table.analysis and all(part.teachers.keys() >= {"vanilla", "icc"} for part in table.parts):
        print(f"\n{verdict([run.folder for run in runs])}")


def _geometry(runs: Sequence[PlannedRun], device: str, folder: Path, drawn: bool) -> None:
    spread = compare([run for run in runs if run.role == "teacher"], device, folder, drawn)
    students = results([run for run in runs if run.role == "student"], share=1.0)
    if found := gain_by_spread.gains(students, spread):
        print(f"\nDo students gain more from teachers of wider classes?\n\n{gain_by_spread.told(found)}")
        for path in gain_by_spread.save(found, folder, drawn):
            print(path)


def _results(name: str, runs: Sequence[PlannedRun], share: float, folder: Path, dataset: str, drawn: bool) -> None:
    judged = images_judged(runs)
    found = results(runs, share)
    about = {"dataset": dataset, "images": judged, "share": share}
    print(f"\n{dataset}, top-1 of the {judged} images (%), mean ± standard deviation over seeds:\n")
    print(f"{markdown(found, share)}\n")
    paths = save(found, folder, about)
    if name == "pareto":
        paths += _pareto(found, share, judged, folder, drawn)
    elif drawn:
        for key in dict.fromkeys(key for one in found for key in one.varied):
            if len({str(one.varied[key]) for one in found if key in one.varied}) == 1:
                continue  # it goes with what varies
            paths.append(curves.sensitivity(found, key, share, judged, folder / f"sensitivity_{key}.png"))
    for path in paths:
        print(path)


def _pareto(found: Sequence[Result], share: float, judged: str, folder: Path, drawn: bool) -> list[Path]:
    choices = curves.choices(found)
    path = folder / "pareto.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["who", "recipe", "epochs", "top1", "on_front"])
        writer.writerows([one.who, one.recipe, one.epochs.mean, one.top1.mean, one.on_front] for one in choices)
    for one in choices:
        if one.on_front:
            print(f"on the front: {one.who}: {one.recipe}: top-1 {one.top1} after {one.epochs} epochs")
    return [path, *([curves.pareto(choices, share, judged, folder / "pareto.png")] if drawn else [])]
