"""A sweep: one setting of the ICC recipe varied, a teacher trained for each value and seed, their geometry measured."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mdistiller_icc.command_line import split_overrides
from mdistiller_icc.config import pairs


def parser() -> argparse.ArgumentParser:
    """The parser of ``tools/sweep.py``."""
    made = argparse.ArgumentParser(
        description="Train an ICC teacher for every value of a setting and measure its feature space.",
        epilog="KEY VALUE pairs apply to every run, e.g. DATASET.TYPE digits DISTILLER.STUDENT resnet8",
    )
    made.add_argument("--cfg", default=None, metavar="FILE", help="YAML file of the recipe")
    made.add_argument("--key", default="ICC.WEIGHT", help="the setting that varies (default: ICC.WEIGHT)")
    made.add_argument(
        "--values", nargs="+", required=True, metavar="VALUE", help="gradnorm, for ICC.WEIGHT, sets itself"
    )
    made.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N")
    made.add_argument("--theory", action="store_true", help="also with the theory's objective instead of cross-entropy")
    made.add_argument("--device", default="auto")
    made.add_argument("--out", default="output/sweep", metavar="DIR", help="default: output/sweep")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the sweep and write ``sweep.json``, ``sweep.md`` and, for numeric values, the pictures of the fit."""
    own_words, options = split_overrides(arguments)
    given = parser().parse_args(own_words)
    pairs(options)
    given.values, given.seeds = list(dict.fromkeys(given.values)), list(dict.fromkeys(given.seeds))
    from mdistiller_icc.geometry.theory import fit_inverse, picture, rank_correlation
    from mdistiller_icc.plugin import register
    from mdistiller_icc.run import check, configure
    from mdistiller_icc.studies.theory import TheoryICC, check_theory

    for value in given.values:  # before the first of them is trained
        cfg = configure(given.cfg, [*options, *_setting(given.key, value)])
        check(cfg)
        if given.theory:
            check_theory(cfg.ICC)

    out = Path(given.out)
    host = register().host
    recipes = {"cross-entropy": host.distiller_dict["ICC"]} | (
        {"contrastive (theory)": TheoryICC} if given.theory else {}
    )
    rows: list[dict[str, Any]] = []
    for objective, recipe in recipes.items():
        for value, seed in itertools.product(given.values, given.seeds):
            host.distiller_dict["ICC"] = recipe
            name = f"{objective},{given.key}:{value}"
            chosen = [*_setting(given.key, value), "EXPERIMENT.NAME", name, "LOG.PREFIX", str(out)]
            measured = measure(given.cfg, [*options, *chosen], seed, given.device)
            rows.append({"objective": objective, "value": value, "seed": seed, **measured})
            out.mkdir(parents=True, exist_ok=True)
            told = {"key": given.key, "options": options, "rows": rows}
            (out / "sweep.json").write_text(json.dumps(told, indent=1))
    host.distiller_dict["ICC"] = recipes["cross-entropy"]
    lines = [f"| objective | {given.key} | " + " | ".join(FIGURES) + " |", "|---|---|" + "---|" * len(FIGURES)]
    for objective in recipes:
        for value in given.values:
            runs = [row for row in rows if (row["objective"], row["value"]) == (objective, value)]
            lines.append(f"| {objective} | {value} | " + " | ".join(_spread(runs, figure) for figure in FIGURES) + " |")
    numeric = [row for row in rows if _is_number(row["value"])]
    for figure, label in (("ratio", "intra/inter distance"), ("L_Intra/L_Inter", "L_Intra / L_Inter")):
        curves = {
            objective: tuple(zip(*points, strict=True))
            for objective in recipes
            if (
                points := [(float(r["value"]), r[figure]) for r in numeric if r["objective"] == objective and r[figure]]
            )
        }
        fitted = {name: curve for name, curve in curves.items() if len({x for x in curve[0] if x > 0}) > 2}
        for name, (weights, values) in fitted.items():
            fit, rank = fit_inverse(weights, values), rank_correlation(weights, values)
            lines.append(
                f"\n{label}, {name}: Spearman's rank correlation with {given.key} {rank:.2f}; "
                f"a/λ + b: a = {fit.a:.4g}, b = {fit.b:.4g}, R² = {'–' if fit.r2 is None else f'{fit.r2:.3f}'}"
            )
        if fitted:
            shown = picture(fitted, label, out / f"geometry_{figure.replace('/', '_over_')}.png")
            lines.append(f"\n{shown}")
    (out / "sweep.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


FIGURES = ("top1", "intra", "inter", "ratio", "L_Intra", "L_Inter", "L_Intra/L_Inter", "λ in force", "gate")


def measure(path: str | None, options: Sequence[str], seed: int, device: str) -> dict[str, Any]:
    """Train one teacher (or find it trained) and measure it on the test images and on two views of training images."""
    import torch

    from mdistiller_icc import data
    from mdistiller_icc.geometry.contrast import contrast
    from mdistiller_icc.geometry.distances import ClassSums
    from mdistiller_icc.plugin import register
    from mdistiller_icc.run import configure, resolve_device, run
    from mdistiller_icc.teachers import checkpoint, resolve

    cfg = configure(path, options, seed)
    record = run(cfg, "student", options=options, device=device, resume=True)  # not for the store
    folder = Path(cfg.LOG.PREFIX) / record["project"] / record["name"]
    where = resolve_device(device)
    dataset = data.load(cfg, seed, where)
    models = register().host.models(dataset.name)
    model = resolve.build(models, cfg.DISTILLER.STUDENT, cfg, dataset.num_classes)
    checkpoint.load_into(model, checkpoint.read_state(folder / "student_latest"), folder, cfg.DISTILLER.STUDENT)
    model.to(where).eval()

    def pooled(image: torch.Tensor) -> torch.Tensor:
        return model(image)[1]["pooled_feat"].float()

    sums, views = ClassSums(dataset.num_classes), []
    with torch.no_grad():
        for image, target in dataset.test:
            sums.add(pooled(image), target)
        dataset.train.set_epoch(1)
        for image, target, index in dataset.train:
            views.append((pooled(image).cpu(), pooled(dataset.train.views(index)).cpu(), target.cpu()))
    losses = contrast(*(torch.cat(part) for part in zip(*views, strict=True)))
    distances = sums.distances()
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    return {
        "top1": record["top1"]["last"], "intra": distances.intra, "inter": distances.inter, "ratio": distances.ratio,
        "L_Intra": losses.intra, "L_Inter": losses.inter,
        "L_Intra/L_Inter": losses.intra / losses.inter if losses.intra and losses.inter else None,
        "λ in force": last.get("icc/weight"), "gate": last.get("icc/passed"), "run": folder.name,
    }  # fmt: skip


def _setting(key: str, value: str) -> list[str]:
    if key == "ICC.WEIGHT" and value == "gradnorm":
        return ["ICC.WEIGHT_MODE", "gradnorm"]
    return [key, value]


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _spread(runs: Sequence[dict[str, Any]], figure: str) -> str:
    import statistics

    values = [run[figure] for run in runs if run[figure] is not None]
    if not values:
        return ""
    digits = 2 if figure == "top1" else 3
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"
