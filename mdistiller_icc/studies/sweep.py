"""A sweep: one setting of the ICC recipe varied, a teacher trained for each value and seed, their geometry measured.

The command line of ``tools/sweep.py``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

from filelock import FileLock

from mdistiller_icc import run_lock, whole_file
from mdistiller_icc.command_line import Parser, add_configuration, split_overrides
from mdistiller_icc.config import pairs
from mdistiller_icc.errors import UserError
from mdistiller_icc.own_code import import_all
from mdistiller_icc.paths import expand, make_folder

FIGURES = (
    "top1", "intra", "inter", "ratio", "L_Intra", "L_Inter", "L_Intra/L_Inter", "λ in force", "gate", "share", "‖z‖",
)  # fmt: skip
"""Of a trained teacher; the last four are of its last epoch: λ, the shares of samples past the gate and of an anchor's
pull in cross-entropy's, and the features' mean length."""
FITTED = {"ratio": "intra/inter distance", "L_Intra/L_Inter": "L_Intra / L_Inter"}
"""The figures that are set against the theory's a/λ + b, as a picture names them."""

CROSS_ENTROPY, CONTRASTIVE = "cross-entropy", "contrastive (theory)"
OBJECTIVES: dict[str, list[str]] = {CROSS_ENTROPY: [], CONTRASTIVE: ["DISTILLER.TYPE", "ICC_THEORY"]}
"""What a teacher is trained by, and the overrides that say so."""

Row = dict[str, Any]


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``tools/sweep.py``."""
    made = Parser(
        prog=prog,
        description="Train an ICC teacher for every value of a setting and measure its feature space.",
        epilog="KEY VALUE pairs apply to every run, e.g. DATASET.TYPE digits DISTILLER.STUDENT resnet8; "
        "without --cfg DISTILLER.TYPE is ICC",
    )
    add_configuration(made)
    made.add_argument("--key", default="ICC.WEIGHT", help="the setting that varies (default: ICC.WEIGHT)")
    made.add_argument(
        "--values", nargs="+", required=True, metavar="VALUE", help="gradnorm, for ICC.WEIGHT, sets itself"
    )
    made.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N")
    made.add_argument("--theory", action="store_true", help="also with the theory's objective instead of cross-entropy")
    made.add_argument("--device", default="auto")
    made.add_argument(
        "--out", default="output/sweep", metavar="DIR", help="default: output/sweep; a sweep in it goes on"
    )
    return made


def main(words: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Make the sweep and write ``sweep.json``, ``sweep.md`` and, for numeric values, the pictures of the fit.

    Returns 1 if a run diverged.
    """
    own_words, options = split_overrides(words)
    given = parser(prog).parse_args(own_words)
    pairs(options)
    import_all(given.imports)
    if given.cfg is None and "DISTILLER.TYPE" not in options:
        options = ["DISTILLER.TYPE", "ICC", *options]
    from mdistiller_icc.plugin import register  # after parsing: importing torch takes a second, --help must not
    from mdistiller_icc.run.processes import refuse
    from mdistiller_icc.studies.theory import registered

    refuse("sweep")
    out, values, seeds = expand(given.out, "--out"), list(dict.fromkeys(given.values)), list(dict.fromkeys(given.seeds))
    with registered(register(verbose=False).host.distiller_dict) if given.theory else nullcontext():
        rows, diverged = _train(given, options, values, seeds, out)
    text = "\n".join([_table(given.key, rows), *_fits(given.key, rows, out)])
    whole_file.write(out / "sweep.md", text + "\n")
    print(text)
    return int(diverged)


def _train(
    given: argparse.Namespace, options: Sequence[str], values: Sequence[str], seeds: Sequence[int], out: Path
) -> tuple[list[Row], bool]:
    """A row for every objective, value and seed that did not diverge, and whether one did.

    ``sweep.json`` holds them after each. Those of other sweeps of the same setting and options are among them, be they
    earlier or beside this one.
    """
    from mdistiller_icc.engine.divergence import Diverged
    from mdistiller_icc.plugin import register
    from mdistiller_icc.run import check, configure

    recipe = configure(given.cfg, options).DISTILLER.TYPE
    methods = register(verbose=False).host.distiller_dict
    if given.key.startswith("ICC.") and getattr(methods.get(recipe), "teacher_kind", None) != "icc":
        raise UserError(f"--key {given.key}: DISTILLER.TYPE {recipe} does not read it; DISTILLER.TYPE ICC does")
    objectives = [CROSS_ENTROPY, *([CONTRASTIVE] if given.theory else [])]
    for objective in objectives:  # before the first of them is trained
        for value in values:
            check(configure(given.cfg, [*options, *OBJECTIVES[objective], *_setting(given.key, value)]))

    about = {"cfg": given.cfg, "key": given.key, "options": [*options]}
    rows, diverged = _before(out / "sweep.json", about), False
    make_folder(out)
    for objective, value, seed in product(objectives, values, seeds):
        chosen, name = [*OBJECTIVES[objective], *_setting(given.key, value)], f"{objective},{given.key}:{value}"
        named = ["EXPERIMENT.NAME", name, "LOG.PREFIX", str(out)]
        try:
            measured = measure(given.cfg, [*options, *chosen, *named], seed, given.device)
        except Diverged as error:
            print(f"left out: {name}, seed {seed}: {error}", file=sys.stderr)
            diverged = True
            continue
        row = {"objective": objective, "value": value, "seed": seed, **measured}
        with FileLock(run_lock.path(out)):  # another sweep may have added one
            rows = _before(out / "sweep.json", about) | {(objective, value, seed): row}
            whole_file.write(out / "sweep.json", json.dumps({**about, "rows": [*rows.values()]}, indent=1))
    return [*rows.values()], diverged


def _before(file: Path, about: dict[str, Any]) -> dict[tuple[str, str, int], Row]:
    """The rows that a sweep's file holds, by objective, value and seed; none where there is no file.

    Raises:
        UserError: it is another sweep's, or no sweep's.
    """
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_text())
        rows = {(row["objective"], row["value"], row["seed"]): row for row in found["rows"]}
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(f"{file}: is no summary of a sweep, and would be overwritten; name another --out") from None
    if any(found.get(key, value) != value for key, value in about.items()):  # older ones do not say the cfg
        told = " ".join(map(str, [found.get("key"), *found.get("options", [])]))
        raise UserError(
            f"{file}: holds the sweep of another setting, configuration or options ({told}); name another --out"
        )
    return rows


def measure(path: str | None, options: Sequence[str], seed: int, device: str) -> Row:
    """Train one teacher (or find it trained) and measure it on the test images and on two views of training images."""
    import torch

    from mdistiller_icc import data
    from mdistiller_icc.engine.run_folder import RunFolder
    from mdistiller_icc.geometry.contrast import contrast
    from mdistiller_icc.geometry.distances import ClassSums
    from mdistiller_icc.plugin import register
    from mdistiller_icc.run import configure, resolve_device, run
    from mdistiller_icc.studies.convergence import history
    from mdistiller_icc.teachers import resolve, weights

    cfg = configure(path, options, seed)
    record = run(cfg, "student", options=options, device=device, resume=True)  # not for the store
    folder = RunFolder(cfg, record["name"]).path
    on = resolve_device(device)
    dataset = data.load(cfg, seed, on)
    models = register(verbose=False).host.models(dataset.name, dataset.image_size)
    model = resolve.build(models, cfg.DISTILLER.STUDENT, cfg, dataset.num_classes)
    weights.load(model, folder / "student_latest", cfg.DISTILLER.STUDENT)
    model.to(on).eval()

    def pooled(image: torch.Tensor) -> torch.Tensor:
        return model(image)[1]["pooled_feat"].float()

    sums, views = ClassSums(dataset.num_classes), []
    with torch.no_grad():
        for image, target in dataset.test:
            sums.add(pooled(image), target)
        dataset.train.set_epoch(1)
        for image, target, index in dataset.train:
            views.append((pooled(image).cpu(), pooled(dataset.train.views(index)).cpu(), target.cpu()))
    feature, view, target = (torch.cat(part) for part in zip(*views, strict=True))
    losses = contrast(feature, view, target)
    distances = sums.distances()
    last = history(folder, cfg.SOLVER.EPOCHS)[-1]
    return {
        "top1": record["top1"]["last"], "intra": distances.intra, "inter": distances.inter, "ratio": distances.ratio,
        "L_Intra": losses.intra, "L_Inter": losses.inter,
        "L_Intra/L_Inter": losses.intra / losses.inter if losses.intra and losses.inter else None,
        "λ in force": last.get("icc/weight"), "gate": last.get("icc/passed"),
        "share": last.get("icc/gradient_share"), "‖z‖": last.get("icc/feature_norm"), "run": folder.name,
    }  # fmt: skip


def _setting(key: str, value: str) -> list[str]:
    if key == "ICC.WEIGHT" and value == "gradnorm":
        return ["ICC.WEIGHT_MODE", "gradnorm"]
    return [key, value]


def _table(key: str, rows: Sequence[Row]) -> str:
    """A line for every objective and value, over seeds."""
    many: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        many.setdefault((row["objective"], row["value"]), []).append(row)
    lines = [f"| objective | {key} | " + " | ".join(FIGURES) + " |", "|---|---|" + "---|" * len(FIGURES)]
    for (objective, value), own in many.items():
        lines.append(f"| {objective} | {value} | " + " | ".join(_spread(own, figure) for figure in FIGURES) + " |")
    return "\n".join(lines)


def _spread(runs: Sequence[Row], figure: str) -> str:
    from mdistiller_icc.studies.results import mean

    values = [run[figure] for run in runs if run[figure] is not None]
    if not values:
        return ""
    return mean(values).told(digits=2 if figure == "top1" else 3)


def _fits(key: str, rows: Sequence[Row], out: Path) -> list[str]:
    """How well a/λ + b describes each figure, and where its picture is; nothing for fewer than three values above 0."""
    from mdistiller_icc.geometry.theory import fit_inverse, picture, rank_correlation

    lines = []
    for figure, label in FITTED.items():
        points: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            if row[figure] and math.isfinite(row[figure]) and (value := _number(row["value"])) is not None:
                points.setdefault(row["objective"], []).append((value, row[figure]))
        curves = {
            objective: ([x for x, _y in own], [y for _x, y in own])
            for objective, own in points.items()
            if len({x for x, _y in own if x > 0}) > 2
        }
        for objective, (weights, values) in curves.items():
            fit, rank = fit_inverse(weights, values), rank_correlation(weights, values)
            lines.append(
                f"\n{label}, {objective}: Spearman's rank correlation with {key} "
                f"{'–' if rank is None else f'{rank:.2f}'}; "
                f"a/λ + b: a = {fit.a:.4g}, b = {fit.b:.4g}, R² = {'–' if fit.r2 is None else f'{fit.r2:.3f}'}"
            )
        if curves:
            name = f"geometry_{figure.replace('/', '_over_')}.png"
            lines.append(f"\n{picture(curves, label, out / name)}")
    return lines


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None
