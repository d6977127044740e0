"""What a table's teachers' feature spaces look like, once its runs are finished: one row a recipe."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

import torch

from mdistiller_icc import data
from mdistiller_icc.geometry.report import Report, analyse, draw, save
from mdistiller_icc.plugin import register
from mdistiller_icc.studies import against_plain
from mdistiller_icc.studies.plan import PlannedRun
from mdistiller_icc.teachers import resolve, weights

FIGURES = ("top1", "intra", "inter", "ratio")
"""Those printed; the files have the soft labels' as well."""


def compare(teachers: Iterable[PlannedRun], device: str, folder: Path, drawn: bool) -> dict[tuple[str, int], float]:
    """Print one data set's teachers' distances, mean over seeds, and write those of every seed and class.

    Args:
        teachers: finished.
        folder: where ``teachers.csv``, ``classes.csv`` and the report of the first seed with most teachers go.
        drawn: the report with its pictures: t-SNE side by side, histograms, class-by-class bars.

    Returns:
        The intra-class distance of every teacher, by recipe and seed, where it has one.
    """
    by_seed = defaultdict(list)
    for run in teachers:
        by_seed[run.cfg.EXPERIMENT.SEED].append(run)
    if not by_seed:
        return {}
    reports = {seed: _analyse(runs, device) for seed, runs in by_seed.items()}
    figures = {(name, seed): _figures(report, name) for seed, report in reports.items() for name in report.geometry}
    values: dict[str, list[dict[str, float | None]]] = defaultdict(list)
    for (name, _seed), own in figures.items():
        values[name].append(own)
    first = max(sorted(reports), key=lambda seed: len(reports[seed].geometry))
    about, most = reports[first].about, max(map(len, values.values()))
    elsewhere = "" if all(len(many) == most for many in values.values()) else ", elsewhere as in brackets"
    print(
        f"\nTeachers' feature spaces, {about['split']} images of {about['dataset']}, L2-normalised pooled features, "
        f"mean over seeds (n = {most}{elsewhere}):\n"
    )
    print("| teacher | top-1 (%) | intra-class distance | inter-class distance | intra / inter |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, many in values.items():
        cells = []
        for figure, digits in zip(FIGURES, (2, 3, 3, 3), strict=True):
            known = [value for one in many if (value := one[figure]) is not None]
            cells.append(f"{fmean(known):.{digits}f}" if known else "–")
        count = f" ({len(many)})" if len(many) < most else ""
        print(f"| {name}{count} | " + " | ".join(cells) + " |")
    save(reports[first], folder)
    _write(folder / "teachers.csv", ("teacher", "seed", *next(iter(figures.values()))), (
        (name, seed, *own.values()) for (name, seed), own in figures.items()
    ))  # fmt: skip
    _write(folder / "classes.csv", ("teacher", "seed", "class", "intra", "inter", "images"), (
        (name, seed, *row)
        for seed, report in reports.items()
        for name, one in report.geometry.items()
        for row in zip(
            report.classes, one.distances.intra_per_class, one.distances.inter_per_class, one.distances.count,
            strict=True,
        )
    ))  # fmt: skip
    print(f"\nof every seed and class: {folder / 'teachers.csv'}, {folder / 'classes.csv'}")
    if changed := against_plain.changes(figures):
        print(f"\nAgainst the plain teacher of the same seed, with 95 % intervals:\n\n{against_plain.told(changed)}\n")
        against_plain.save(changed, folder / "against_plain.csv")
        print(folder / "against_plain.csv")
    if drawn:
        paths = draw(reports[first], folder)
        print(f"t-SNE of the teachers of seed {first}: {paths['tsne']}")
    return {key: intra for key, own in figures.items() if (intra := own["intra"]) is not None}


def _figures(report: Report, name: str) -> dict[str, float | None]:
    one = report.geometry[name]
    return {
        "top1": one.top1, "intra": one.distances.intra, "inter": one.distances.inter, "ratio": one.distances.ratio,
        **{f"entropy_T{t:g}": value for t, value in one.entropy.items()},
        **{f"within_share_T{t:g}": value for t, value in one.within_share.items()},
    }  # fmt: skip


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _analyse(runs: Sequence[PlannedRun], device: str) -> Report:
    """The geometry of trained teachers on the test images."""
    dataset = data.load(runs[0].cfg, runs[0].cfg.EXPERIMENT.SEED, torch.device(device))
    models = register(verbose=False).host.models(dataset.name, dataset.image_size)
    networks = {}
    for run in runs:
        node = run.cfg.DISTILLER
        network = resolve.build(models, node.STUDENT, run.cfg, dataset.num_classes)
        weights.load(network, run.teacher_file, node.STUDENT)
        networks[run.recipe] = network
    about = {"dataset": dataset.name, "split": "test", "seed": runs[0].cfg.EXPERIMENT.SEED}
    return analyse(networks, dataset.test, device, dataset.classes, about)
