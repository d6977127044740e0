"""A linear classifier on a checkpoint's frozen features; the command line of ``mdistiller-icc probe``."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from typing import Any

from mdistiller_icc.command_line import Parser, add_configuration, split_overrides
from mdistiller_icc.errors import UserError
from mdistiller_icc.own_code import import_all

SCHEMA = 1
CRDS = ("stl10", "tiny_imagenet")
"""What CRD's paper probes on."""


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``tools/probe.py``."""
    made = Parser(
        prog=prog,
        usage="%(prog)s CHECKPOINT [--on NAME ...] [--json] [KEY VALUE ...]",
        description="Top-1 of a linear classifier on a frozen network's pooled features of other data sets.",
        epilog="Images are brought to the size that the network was trained on, or to DATASET.IMAGE_SIZE. Architecture "
        "and data set are those that the file, or the record.json beside it, says; else DISTILLER.STUDENT and "
        "DATASET.TYPE.",
    )
    made.add_argument("checkpoint", metavar="CHECKPOINT", help="of anybody's: ours, mdistiller's, RepDistiller's")
    made.add_argument(
        "--on", action="append", default=[], metavar="NAME",
        help=f"a data set, as DATASET.TYPE has it; may be repeated (default {' and '.join(CRDS)})",
    )  # fmt: skip
    made.add_argument("--json", action="store_true", help="print one JSON object, and nothing else on standard output")
    made.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, …")
    add_configuration(made)
    return made


def main(words: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Probe the network that a command line names and print its figures."""
    own, options = split_overrides(words)
    given = parser(prog).parse_intermixed_args(own)
    with contextlib.redirect_stdout(sys.stderr) if given.json else contextlib.nullcontext():
        result = _probe(given, options)
    if given.json:
        print(json.dumps(result, allow_nan=False))
        return 0
    for one in result["probes"]:
        print(
            f"{one['dataset']}: linear top-1 {one['top1']:.2f} % ({one['num_classes']} classes, {one['num_train']:,} "
            f"training and {one['num_test']:,} test images, {result['image_size']} pixels, {result['dim']} features)"
        )
    return 0


def _probe(given: argparse.Namespace, options: Sequence[str]) -> dict[str, Any]:
    # After parsing: importing torch takes a second, --help must not.
    from mdistiller_icc import data
    from mdistiller_icc.plugin import register
    from mdistiller_icc.run import configure, resolve_device
    from mdistiller_icc.run.network import about, load
    from mdistiller_icc.run.processes import refuse
    from mdistiller_icc.studies.linear_probe import INVERSE_PENALTY, seen, top1

    refuse("probe")
    import_all(given.imports)
    said = about(given.checkpoint)
    cfg = configure(given.cfg, [*(said.options if given.cfg is None else []), *options])
    home = data.described(cfg)
    sets = [data.data_set(name, "--on").name for name in given.on or CRDS]
    count = said.num_classes or home.num_classes
    if count is None:
        raise UserError(f"{given.checkpoint}: does not say how many classes of {home.name} it was trained on")
    device = resolve_device(given.device)
    models = register(verbose=False).host.models(home.name, home.image_size)
    classes = said.classes or tuple(map(str, range(count)))
    network, whose = load(models, cfg, given.checkpoint, said.architecture, classes)
    network.to(device)
    print(f"network: {whose} ({whose.path})")

    probes, dim = [], 0
    cfg.defrost()
    cfg.SOLVER.TRAINER, cfg.DATASET.IMAGE_SIZE = "base", home.image_size
    cfg.DATASET.MEAN = cfg.DATASET.STD = None
    for name in sets:
        # Its own training images as somebody else's: in their order and not augmented, but with the labels they have.
        cfg.DATASET.TYPE = cfg.DATASET.IMAGES = name
        loaded = data.load(cfg, 0, device)
        assert loaded.unlabelled is not None
        train, test = seen(network, loaded.unlabelled, device), seen(network, loaded.test, device)
        dim = train.features.shape[1]
        counts = {"num_classes": loaded.num_classes, "num_train": len(train.labels), "num_test": len(test.labels)}
        probes.append({"dataset": name, **counts, "top1": top1(train, test)})
    return {
        "schema": SCHEMA,
        "checkpoint": whose.path,
        "digest": whose.digest,
        "architecture": whose.architecture,
        "kind": whose.kind,
        "seed": whose.seed,
        "trained_on": home.name,
        "image_size": home.image_size,
        "dim": dim,
        "c": INVERSE_PENALTY,
        "probes": probes,
    }
