"""Detectors; the command line of ``tools/train_detection.py``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mdistiller_icc.command_line import Parser, add_configuration, add_run, longer, make_run, split_overrides

ABOUT = "Train a detector on COCO, from a teacher or alone."


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``tools/train_detection.py``."""
    made = Parser(
        prog=prog, description=ABOUT,
        epilog="KEY VALUE pairs override the file, e.g. DATASET.ROOT /data/coco DETECTION.EPOCH_STEPS 100",
    )  # fmt: skip
    add_configuration(made)
    made.add_argument(
        "--teacher", action="store_true", help="put the detector into the teacher store when it is trained"
    )
    made.add_argument("--eval", metavar="CHECKPOINT", help="do not train: measure this checkpoint of DISTILLER.STUDENT")
    add_run(made)
    return made


def main(words: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Parse the command line, train or measure a detector and print its average precisions."""
    own, overrides = split_overrides(words)
    given = parser(prog).parse_intermixed_args(own)
    # After parsing: importing torch takes a second, --help must not.
    from mdistiller_icc.run.processes import one_voice

    with one_voice():
        _main(given, [*given.options, *overrides])
    return 0


def _main(given: argparse.Namespace, options: list[str]) -> None:
    from mdistiller_icc.detection.run import check, measure, run
    from mdistiller_icc.detection.settings import configure
    from mdistiller_icc.own_code import import_all
    from mdistiller_icc.paths import expand
    from mdistiller_icc.tables.metrics import AP

    folder = None
    if given.eval:
        import_all(given.imports)
        file = str(expand(given.eval, "--eval"))
        figures = measure(configure(given.cfg, [*options, *longer(given)], given.seed), file, given.device)
    else:
        record, folder = make_run(given, options, "teacher" if given.teacher else "student", configure, check, run)
        figures = {name: record[name]["last"] for name in AP}
    for kind in ("box", "mask"):
        found = {name: value for name, value in figures.items() if name.startswith(kind) and value is not None}
        if found:
            print(f"test {', '.join(f'{AP[name]} {value:.2f}' for name, value in found.items())}")
    if folder is not None:
        print(f"run: {folder}")
