"""The command line of ``tools/reproduce.py``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from mdistiller_icc.command_line import Parser, add_import, add_pair_settings, split_overrides
from mdistiller_icc.errors import UserError
from mdistiller_icc.studies.table import PROTOCOLS
from mdistiller_icc.studies.table_file import load, shipped

ENGINES = ("local", "ray")


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``tools/reproduce.py``."""
    parser = Parser(
        prog=prog,
        description="Make all runs of a table: teachers first, then the students that learn from them. "
        "The same command goes on where it was stopped.",
        epilog=f"Tables: {', '.join(shipped())}. KEY VALUE pairs override every run's configuration, "
        "e.g. DATASET.ROOT data SOLVER.PRECISION auto",
    )
    parser.add_argument("table", metavar="TABLE", help="name of a table, or a YAML file of your own")
    _add_options(parser)
    return parser


def quickstart_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``tools/quickstart.py``."""
    parser = Parser(
        prog=prog,
        description="Does an ICC teacher help? Trains plain and ICC teachers on seven handwritten digits a class, "
        "distils from both with KD and DKD over eight seeds, and prints the table, the gains with their intervals and "
        "where the pictures are: minutes on two cores, offline. The same command goes on where it was stopped.",
        epilog="KEY VALUE pairs override every run's configuration, e.g. SOLVER.EPOCHS 10",
    )
    _add_options(parser)
    parser.set_defaults(table="quickstart")
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plan", action="store_true", help="say what would run, how long and what is done; run nothing"
    )
    parser.add_argument("--protocol", choices=PROTOCOLS, default="full", help="short: the same in fewer epochs")
    parser.add_argument("--seeds", type=_seed, nargs="+", metavar="N", default=None, help="default: the table's")
    parser.add_argument("--pairs", nargs="+", metavar="T:S", default=None, help="these alone, e.g. resnet56:resnet20")
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME", default=None, help="these alone; NONE: without a teacher"
    )
    parser.add_argument(
        "--jobs", type=_jobs, default=None, metavar="N",
        help="runs at once (default: as many as there are GPUs or CPU cores for); more than there are GPUs share them",
    )  # fmt: skip
    parser.add_argument(
        "--gpus-per-run", type=_gpus, default=None, metavar="N",
        help="GPUs of each run, with a process on each, or the share of one, e.g. 0.25 (default: 1); "
        "without GPUs its processes on the CPU",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto (default: every GPU, else CPU), cpu, cuda, cuda:1, …")
    parser.add_argument("--engine", choices=ENGINES, default="local", help="local (default), or ray")
    parser.add_argument("--address", default=None, help="of a running Ray cluster, e.g. auto (default: start one here)")
    add_pair_settings(parser, "the table's word")
    add_import(parser)
    parser.add_argument("options", nargs="*", metavar="KEY VALUE", help="overrides")


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a seed is a whole number of at least 0, not '{text}'")
    return int(text)


def _jobs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not '{text}'")
    return int(text)


def _gpus(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.01 <= number < 1 and not (number >= 1 and number.is_integer()):
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, or a share from 0.01 to 1, not '{text}'")
    return number


def parse(words: Sequence[str] | None, parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse a command line, in which overrides may stand anywhere, also right after ``--seeds 0 1``."""
    rest, options = split_overrides(words)
    given = parser.parse_intermixed_args(rest)
    given.options += options
    return given


def main(words: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Plan a table and make its runs; 1 if any failed."""
    return _make(parse(words, parser(prog)))


def quickstart(words: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Make the table ``quickstart``; 1 if any of its runs failed."""
    return _make(parse(words, quickstart_parser(prog)))


def _make(given: argparse.Namespace) -> int:
    if given.address is not None and given.engine != "ray":
        raise UserError("--address is for --engine ray")
    table = load(given.table).only(given.pairs, given.methods).asking(given.pair_settings)
    table = replace(table, imports=[*table.imports, *given.imports])

    # After parsing: importing torch takes a second, --help must not.
    from mdistiller_icc.run.processes import refuse
    from mdistiller_icc.studies.analyses import analyse
    from mdistiller_icc.studies.study import Study

    refuse("reproduce")
    study = Study(
        table, given.protocol, given.seeds, given.options, given.device, given.jobs, given.gpus_per_run, given.address
    )
    if given.plan:
        study.time()
        print(study.told())
        return 0
    if status := study.make(given.engine):
        return status
    analyse(study.table, study.runs, study.places[0].device)
    return 0
