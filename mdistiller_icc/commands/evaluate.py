"""How well a checkpoint's network does on a data set's test images; the command line of ``mdistiller-icc eval``."""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdistiller_icc import whole_file
from mdistiller_icc.command_line import Parser, add_configuration, add_quiet, split_overrides
from mdistiller_icc.errors import UserError
from mdistiller_icc.own_code import import_all
from mdistiller_icc.paths import expand, make_folder
from mdistiller_icc.tables.text import harmless

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
WRITTEN = {
    "eval.json": r'\{\n "schema": \d+,\n "checkpoint": ',
    "per_class.csv": "class,images,correct,top1\n",
    "confusions.csv": "true class,",
}
"""The files in ``--out``, and how each begins."""


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``tools/eval.py``."""
    made = Parser(
        prog=prog,
        usage="%(prog)s CHECKPOINT [--out DIR] [--json] [KEY VALUE ...]\n       %(prog)s -m MODEL [-c CHECKPOINT] ...",
        description="Top-1, top-5 and loss of a trained network on a data set's test images.",
        epilog="Architecture and data set are those that the file, or the record.json beside it, says; else cifar100 "
        "and DISTILLER.STUDENT. KEY VALUE pairs override the configuration, e.g. DATASET.ROOT data",
    )
    made.add_argument("words", nargs="*", metavar="CHECKPOINT", help="of anybody's: ours, mdistiller's, RepDistiller's")
    made.add_argument("-m", "--model", default=None, metavar="MODEL", help="the architecture, or a teacher's name")
    made.add_argument(
        "-c", "--ckpt", default=None, metavar="CHECKPOINT",
        help="the same as CHECKPOINT; pretrain, or none: the checkpoint that belongs to MODEL",
    )  # fmt: skip
    made.add_argument("-d", "--dataset", default=None, metavar="NAME", help="the same as DATASET.TYPE NAME")
    made.add_argument("-bs", "--batch-size", default=None, metavar="N", help="the same as DATASET.TEST.BATCH_SIZE N")
    made.add_argument("--json", action="store_true", help="print one JSON object, and nothing else on standard output")
    made.add_argument("--out", default=None, metavar="DIR", help="also write eval.json, per_class.csv, confusions.csv")
    made.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, …")
    add_quiet(made)
    add_configuration(made)
    return made


def main(words: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Evaluate the network that a command line names, print its figures and write what was asked for."""
    own, options = split_overrides(words)
    given = parser(prog).parse_intermixed_args(own)
    file, stray = _file(given.words, given.ckpt, given.model)
    out = expand(given.out, "--out") if given.out else None
    if out:
        for name, begins in WRITTEN.items():
            whole_file.check_ours(out / name, begins, "--out")
    with contextlib.redirect_stdout(sys.stderr) if given.json else contextlib.nullcontext():
        result, classes, confusions = _evaluate(given, file, [*stray, *options])
    written = _write(out, result, classes, confusions) if out else []
    if given.json:
        print(json.dumps(result, allow_nan=False))
        return 0
    loss = "not finite" if result["loss"] is None else f"{result['loss']:.4f}"
    print(
        f"test top-1 {result['top1']:.2f} %, top-5 {result['top5']:.2f} %, loss {loss} "
        f"({result['images']:,} images of {result['dataset']}, {result['precision']})"
    )
    for path in written:
        print(path)
    return 0


def _file(words: Sequence[str], ckpt: str | None, model: str | None) -> tuple[str, list[str]]:
    """The checkpoint, empty for the one that belongs to the model, and the words that are left."""
    if ckpt is not None:
        return "" if ckpt == "pretrain" and model else ckpt, list(words)
    if words:
        return words[0], list(words[1:])
    if model is None:
        raise UserError("no checkpoint: name a file, or a network with -m MODEL")
    return "", []


def _evaluate(
    given: argparse.Namespace, file: str, options: Sequence[str]
) -> tuple[dict[str, Any], tuple[str, ...], list[list[int]]]:
    """The figures, the classes, and how many images of each class were taken for which."""
    # After parsing: importing torch takes a second, --help must not.
    import torch

    from mdistiller_icc import data
    from mdistiller_icc.engine import precision
    from mdistiller_icc.engine.evaluate import evaluate
    from mdistiller_icc.engine.progress import evaluating
    from mdistiller_icc.plugin import register
    from mdistiller_icc.run import configure, resolve_device
    from mdistiller_icc.run.network import About, Logits, about, load
    from mdistiller_icc.run.processes import refuse

    refuse("eval")
    import_all(given.imports)
    said = about(file) if file else About()
    first = ["DATASET.TYPE", given.dataset] if given.dataset else said.options if given.cfg is None else []
    batch = ["DATASET.TEST.BATCH_SIZE", given.batch_size] if given.batch_size else []
    cfg = configure(given.cfg, [*first, *batch, *options])
    device = resolve_device(given.device)
    models = register(verbose=False).host.models(cfg.DATASET.TYPE, cfg.DATASET.IMAGE_SIZE)
    loaded = data.load(cfg, 0, device)
    network, whose = load(models, cfg, file, given.model or said.architecture, loaded.classes)
    print(f"network: {whose} ({whose.path})")

    classify = Logits(network).to(device)
    targets: list[Tensor] = []
    predictions: list[Tensor] = []

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for image, target in evaluating(loaded.test, "evaluating", given.quiet):
            targets.append(target.to(device))
            yield image, target

    def forward(image: Tensor) -> Tensor:
        logits = classify(image)
        predictions.append(logits.topk(1).indices[:, 0])
        return logits

    arithmetic = precision.resolve(cfg.SOLVER.PRECISION, device)
    accuracy = evaluate(forward, batches(), device, arithmetic)
    count = loaded.num_classes
    pairs = torch.cat(targets) * count + torch.cat(predictions)
    confusions: list[list[int]] = pairs.bincount(minlength=count**2).view(count, count).tolist()
    result = {
        "schema": SCHEMA,
        "checkpoint": whose.path,
        "digest": whose.digest,
        "architecture": whose.architecture,
        "kind": whose.kind,
        "seed": whose.seed,
        "dataset": loaded.name,
        "images": len(pairs),
        "top1": accuracy.top1,
        "top5": accuracy.top5,
        "loss": accuracy.loss if math.isfinite(accuracy.loss) else None,
        "precision": arithmetic,
    }
    return result, loaded.classes, confusions


def _write(
    folder: Path, result: dict[str, Any], classes: Sequence[str], confusions: Sequence[Sequence[int]]
) -> list[Path]:
    """Write the three files; a row of ``confusions.csv`` is a true class, a column what its images were taken for."""
    make_folder(folder)
    figures, per_class, crossed = (folder / name for name in WRITTEN)
    whole_file.write(figures, json.dumps(result, indent=1, allow_nan=False) + "\n")
    rows: list[Iterable[Any]] = [("class", "images", "correct", "top1")]
    names = [harmless(name) for name in classes]
    for i, name in enumerate(names):
        images, correct = sum(confusions[i]), confusions[i][i]
        rows.append((name, images, correct, f"{100 * correct / images:.2f}" if images else ""))
    _write_csv(per_class, rows)
    _write_csv(crossed, [("true class", *names), *((name, *confusions[i]) for i, name in enumerate(names))])
    return [figures, per_class, crossed]


def _write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    whole_file.write(path, text.getvalue())
