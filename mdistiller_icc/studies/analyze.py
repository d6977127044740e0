"""The command line of ``tools/analyze.py``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mdistiller_icc.command_line import Parser, add_configuration, split_overrides
from mdistiller_icc.errors import UserError
from mdistiller_icc.own_code import import_all
from mdistiller_icc.paths import expand


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of ``tools/analyze.py``; `split_words` parts checkpoints from overrides."""
    parser = Parser(
        prog=prog,
        description="Compare the feature spaces and soft labels of trained networks on the same images.",
        usage="%(prog)s CHECKPOINT [CHECKPOINT ...] --cfg FILE [--out DIR] [--split test|train] [KEY VALUE ...]",
        epilog="A checkpoint's architecture is read from the file or the record.json beside it; for one that has "
        "neither it is DISTILLER.STUDENT. KEY VALUE pairs override the file, e.g. DATASET.ROOT data",
    )
    parser.add_argument("files", nargs="+", metavar="CHECKPOINT", help="networks to compare")
    add_configuration(parser)
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


def main(words: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Analyse the checkpoints a command line names, print the table and say where the pictures are."""
    own_words, options = split_overrides(words)
    given = parser(prog).parse_intermixed_args(own_words)
    files = given.files
    names = labels(files)

    from mdistiller_icc import data
    from mdistiller_icc.geometry.report import analyse, draw, save
    from mdistiller_icc.plugin import register
    from mdistiller_icc.run import configure, resolve_device
    from mdistiller_icc.run.network import about, load
    from mdistiller_icc.run.processes import refuse

    refuse("analyze")
    import_all(given.imports)
    cfg = configure(given.cfg, options, given.seed)
    device = resolve_device(given.device)
    models = register(verbose=False).host.models(cfg.DATASET.TYPE, cfg.DATASET.IMAGE_SIZE)
    networks, told = {}, {}
    dataset = data.load(cfg, cfg.EXPERIMENT.SEED or 0, device)
    for name, file in zip(names, files, strict=True):
        networks[name], whose = load(models, cfg, file, about(file).architecture, dataset.classes)
        told[name] = whose.record()
    context = {"dataset": dataset.name, "split": given.split, "checkpoints": told}
    report = analyse(networks, getattr(dataset, given.split), device, dataset.classes, context)
    print(report.markdown())
    for write in (save, draw):
        for path in write(report, expand(given.out, "--out")).values():
            print(path)
    return 0
