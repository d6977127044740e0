"""What a table's teachers' feature spaces look like, once its runs are finished."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import mean

import torch

from mdistiller_icc import data
from mdistiller_icc.geometry.report import Report, analyse, save
from mdistiller_icc.plugin import register
from mdistiller_icc.reproduce.plan import Run
from mdistiller_icc.teachers import checkpoint, resolve


def compare(teachers: Iterable[Run], device: str) -> None:
    """Print the teachers' distances, mean over seeds, and draw those of the first seed side by side."""
    by_seed = defaultdict(list)
    for run in teachers:
        by_seed[run.cfg.EXPERIMENT.SEED].append(run)
    reports = {seed: _analyse(runs, device) for seed, runs in by_seed.items()}
    first = min(reports)

    print(
        f"Teachers' feature spaces, test images, L2-normalised pooled features, mean over seeds (n = {len(reports)}):\n"
    )
    print("| teacher | top-1 (%) | intra-class distance | inter-class distance | intra / inter |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in reports[first].geometry:
        many = [report.geometry[name] for report in reports.values()]
        top1 = mean(one.top1 for one in many)
        figures = [mean(getattr(one.distances, key) for one in many) for key in ("intra", "inter", "ratio")]
        print(f"| {name} | {top1:.2f} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |")
    paths = save(reports[first], by_seed[first][0].folder.parent / "geometry")
    print(f"\nt-SNE of the teachers of seed {first}: {paths['tsne']}")


def _analyse(runs: Sequence[Run], device: str) -> Report:
    """The geometry of trained teachers on the test images."""
    dataset = data.load(runs[0].cfg, runs[0].cfg.EXPERIMENT.SEED, torch.device(device))
    models = register().host.models(dataset.name)
    networks = {}
    for run in runs:
        node = run.cfg.DISTILLER
        network = resolve.build(models, node.STUDENT, run.cfg, dataset.num_classes)
        checkpoint.load_into(network, checkpoint.read_state(run.teacher_file), run.teacher_file, node.STUDENT)
        networks[run.teacher_file.stem.rpartition("_seed")[0]] = network
    about = {"dataset": dataset.name, "split": "test", "seed": runs[0].cfg.EXPERIMENT.SEED}
    return analyse(networks, dataset.test, device, dataset.classes, about)
