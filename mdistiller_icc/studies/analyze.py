"""The command line of ``tools/analyze.py``."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mdistiller_icc.errors import UserError
from mdistiller_icc.paths import expand

KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)+")


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``tools/analyze.py``; `split_words` parts checkpoints from overrides."""
    parser = argparse.ArgumentParser(
        description="Compare the feature spaces and soft labels of trained networks on the same images.",
        usage="%(prog)s CHECKPOINT [CHECKPOINT ...] --cfg FILE [--out DIR] [--split test|train] [KEY VALUE ...]",
        epilog="A checkpoint's architecture is read from the file or the record.json beside it; for one that has "
        "neither it is DISTILLER.STUDENT. KEY VALUE pairs override the file, e.g. DATASET.ROOT data",
    )
    parser.add_argument("words", nargs="+", metavar="CHECKPOINT", help="networks to compare, then KEY VALUE overrides")
    parser.add_argument("--cfg", default=None, metavar="FILE", help="YAML file in mdistiller's schema")
    parser.add_argument(
        "--out", default="output/geometry", metavar="DIR", help="folder to write (default: %(default)s)"
    )
    parser.add_argument(
        "--split", choices=("test", "train"), default="test",
        help="the images: test (default), or train, augmented as in training",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=None, help="of the training images' augmentation (default: 0)")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, …")
    return parser


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part checkpoints from the overrides, which begin at the first word that looks like a configuration key.

    >>> split_words(["a.pth", "b.pth", "DATASET.ROOT", "data"])
    (['a.pth', 'b.pth'], ['DATASET.ROOT', 'data'])

    Raises:
        UserError: there is no checkpoint.
    """
    first = next((i for i, word in enumerate(words) if KEY.fullmatch(word)), len(words))
    if first == 0:
        raise UserError(f"no checkpoint before {words[0]}: name at least one network to analyse")
    return list(words[:first]), list(words[first:])


def labels(files: Sequence[str]) -> list[str]:
    """Return a name for each file: its stem, with as many folders before it as tell all of them apart.

    >>> labels(["a/resnet20_icc.pth", "a/resnet20_vanilla.pth"])
    ['resnet20_icc', 'resnet20_vanilla']
    >>> labels(["a/student_best", "b/student_best"])
    ['a/student_best', 'b/student_best']

    Raises:
        UserError: a file is named twice.
    """
    paths = [
        Path(file).absolute().with_suffix("") if file.endswith(".pth") else Path(file).absolute() for file in files
    ]
    repeated = next((file for i, file in enumerate(files) if paths[i] in paths[:i]), None)
    if repeated:
        raise UserError(f"{repeated}: named twice")
    depth = 1
    while len(names := {"/".join(path.parts[-depth:]): None for path in paths}) < len(paths):
        depth += 1
    return list(names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Analyse the checkpoints a command line names, print the table and say where the pictures are."""
    given = parser().parse_intermixed_args(arguments)
    files, options = split_words(given.words)
    names = labels(files)

    from mdistiller_icc import data
    from mdistiller_icc.geometry.report import analyse, draw, save
    from mdistiller_icc.plugin import register
    from mdistiller_icc.run import configure, resolve_device

    cfg = configure(given.cfg, options, given.seed)
    device = resolve_device(given.device)
    models = register().host.models(cfg.DATASET.TYPE)
    networks, told = {}, {}
    dataset = data.load(cfg, cfg.EXPERIMENT.SEED or 0, device)
    for name, file in zip(names, files, strict=True):
        networks[name], told[name] = _network(file, models, cfg, dataset.classes)
    about = {"dataset": dataset.name, "split": given.split, "checkpoints": told}
    report = analyse(networks, getattr(dataset, given.split), device, dataset.classes, about)
    print(report.markdown())
    for write in (save, draw):
        for path in write(report, expand(given.out, "--out")).values():
            print(path)
    return 0


def _network(file: str, models: dict[str, Any], cfg: Any, classes: tuple[str, ...]) -> tuple[Any, dict[str, Any]]:
    """The network of a checkpoint, with its weights, and what is known of it."""
    from mdistiller_icc.teachers import checkpoint, resolve

    content = checkpoint.read(file)
    architecture = resolve.told_by(content).get("architecture") or _recorded(Path(file).with_name("record.json"))
    named = cfg.clone()
    named.defrost()
    named.DISTILLER.TEACHER = architecture or cfg.DISTILLER.STUDENT
    named.DISTILLER.TEACHER_CKPT = file
    try:
        network, whose = resolve.load(models, named, classes)
    except UserError as error:
        if architecture:
            raise
        raise UserError(f"{error}; the file does not say its architecture: name it with DISTILLER.STUDENT") from None
    return network, whose.record()


def _recorded(record: Path) -> str | None:
    """The architecture a run's record names, None where there is no readable record."""
    try:
        return json.loads(record.read_text(encoding="utf-8"))["student"]["architecture"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
