"""The arguments our command lines share: mdistiller's, and ``--seed``, ``--device``, ``--import`` and others."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mdistiller_icc.errors import UserError

if TYPE_CHECKING:
    from yacs.config import CfgNode

KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)+")
OPTION = re.compile(r"--[a-z].*|-[a-z]{1,2}", re.DOTALL)


def split_overrides(arguments: Sequence[str] | None = None) -> tuple[list[str], list[str]]:
    """Part a command line into its own words and its ``KEY VALUE`` overrides, which may stand anywhere in it.

    >>> split_overrides(["--seeds", "0", "1", "SOLVER.LR", "0.1", "--plan"])
    (['--seeds', '0', '1', '--plan'], ['SOLVER.LR', '0.1'])
    >>> split_overrides(["--key", "ICC.MARGIN", "ICC.WEIGHT", "-1e-2"])
    (['--key', 'ICC.MARGIN'], ['ICC.WEIGHT', '-1e-2'])

    Raises:
        UserError: an option stands in a value's place.
    """
    own: list[str] = []
    overrides: list[str] = []
    words = iter(sys.argv[1:] if arguments is None else arguments)
    for word in words:
        if KEY.fullmatch(word) and own[-1:] not in (["--key"], ["--import"]):
            value = [*islice(words, 1)]
            if value and OPTION.fullmatch(value[0]):
                raise UserError(f"{word}: its value is missing before {value[0]}")
            overrides += [word, *value]
        else:
            own.append(word)
    return own, overrides


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            UserError: always.
        """
        raise UserError(f"{message} (--help shows what there is)")


def add_configuration(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg`` and ``--import``, which every command that reads a configuration has."""
    parser.add_argument(
        "--cfg", default=None, metavar="FILE",
        help="YAML file in mdistiller's schema, or the name of a shipped one, e.g. icc/res110",
    )  # fmt: skip
    add_import(parser)


def add_import(parser: argparse.ArgumentParser) -> None:
    """Add ``--import``; what it names is for `own_code.import_all`, before the configuration is read."""
    parser.add_argument(
        "--import", dest="imports", action="append", default=[], metavar="FILE.py",
        help="a file, or a module's name, with distillers or networks of your own; may be given several times",
    )  # fmt: skip


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add ``-q``."""
    parser.add_argument("-q", "--quiet", action="store_true", help="no bar, no host: the result, and what is amiss")


def add_pair_settings(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--pair-settings``, whose default is said in words."""
    parser.add_argument(
        "--pair-settings", choices=("none", "published"), default=None,
        help="published: a method has the settings published for its pair of networks, above those of the file and "
        f"below KEY VALUE overrides (default: {default})",
    )  # fmt: skip


def training_parser(description: str, prog: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``tools/train.py`` and ``tools/train_teacher.py``."""
    parser = Parser(
        prog=prog,
        description=description,
        epilog="KEY VALUE pairs override the file, e.g. SOLVER.EPOCHS 2 DATASET.FRACTION 0.05",
    )
    add_configuration(parser)
    add_pair_settings(parser, "none, or what the file says")
    add_run(parser)
    return parser


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add what every command that makes a run takes beside its configuration."""
    parser.add_argument("--resume", action="store_true", help="go on with this run where it stopped")
    parser.add_argument(
        "--epochs", type=_epochs, default=None, metavar="N",
        help="with --resume: N epochs in all, more than it was begun with, where its schedule allows that",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="start this run again even if it is there")
    parser.add_argument("--seed", type=int, default=None, help="seed, named in the run and the teacher (default: 0)")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, …")
    add_quiet(parser)
    parser.add_argument("options", nargs="*", metavar="KEY VALUE", help="overrides")


def _epochs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not '{text}'")
    return int(text)


def longer(arguments: argparse.Namespace) -> list[str]:
    """The override that ``--epochs`` stands for, which does not name the run.

    Raises:
        UserError: there is no run to be made longer.
    """
    if arguments.epochs is None:
        return []
    if not arguments.resume:
        raise UserError("--epochs makes a run longer that is there, with --resume; SOLVER.EPOCHS N begins one of N")
    return ["SOLVER.EPOCHS", str(arguments.epochs)]


def train(description: str, role: str, words: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Parse the command line, make one run of the given role and print how well it does."""
    own, overrides = split_overrides(words)
    arguments = training_parser(description, prog).parse_intermixed_args(own)
    options = [*arguments.options, *overrides]
    if arguments.pair_settings:
        options += ["EXPERIMENT.PAIR_SETTINGS", arguments.pair_settings]
    # After parsing: importing torch takes a second, --help must not.
    from mdistiller_icc.run.processes import one_voice

    with one_voice():
        _train(arguments, options, role)
    return 0


def _train(arguments: argparse.Namespace, options: list[str], role: str) -> None:
    from mdistiller_icc.run import check, configure, run

    record, folder = make_run(arguments, options, role, configure, check, run)
    top1 = record["top1"]
    shown = {
        "last epoch": top1["last"],
        "mean of last 10": top1["mean_last_10"],
        f"best test epoch ({record['best_epoch']})": top1["best_test"],
        "held-out choice": top1["heldout_selected"],
    }
    figures = ", ".join(f"{name} {value:.2f} %" for name, value in shown.items() if value is not None)
    print(f"test top-1: {figures}")
    print(f"run: {folder}")


def make_run(
    arguments: argparse.Namespace,
    options: list[str],
    role: str,
    configure: Callable[..., CfgNode],
    check: Callable[..., Any],
    run: Callable[..., dict[str, Any]],
) -> tuple[dict[str, Any], Path]:
    """Make the run that a command line asks for and return its record and its folder.

    Args:
        arguments: see `add_run` and `add_configuration`.
        options: overrides.
        role: ``teacher`` or ``student``.
        configure: of a network, or of a detector; so are the next two.
        check: returns what has the run's ``name``.
        run: makes the run.
    """
    from mdistiller_icc.engine.progress import Quiet
    from mdistiller_icc.engine.run_folder import RunFolder
    from mdistiller_icc.own_code import import_all

    import_all(arguments.imports)
    cfg = configure(arguments.cfg, [*options, *longer(arguments)], arguments.seed)
    folder = RunFolder(cfg, check(cfg, role, options, arguments.device).name)
    if arguments.resume and not folder.begun():
        print(f"{folder.path}: holds no run to go on with; it begins")
    record = run(
        cfg, role, options=options, device=arguments.device, resume=arguments.resume, overwrite=arguments.overwrite,
        progress=Quiet() if arguments.quiet else None,
    )  # fmt: skip
    return record, folder.path
