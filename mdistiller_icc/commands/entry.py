"""``mdistiller-icc COMMAND …``: every command there is, each the function that its script in ``tools/`` calls."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from mdistiller_icc.command_line import Parser, train
from mdistiller_icc.commands import collect, detection, evaluate, export, linear_probe
from mdistiller_icc.errors import UserError, exit_status, nearest
from mdistiller_icc.studies import analyze, reproduce, sweep
from mdistiller_icc.version import __version__


class Command(NamedTuple):
    """What a command does, in a line, and the function that does it with its words and the name it goes by."""

    about: str
    main: Callable[[Sequence[str] | None, str | None], int]


TEACHER, STUDENT = "Train a teacher and put it into the teacher store.", "Train a student, from a teacher or alone."
COMMANDS = {
    "quickstart": Command("Does an ICC teacher help? On handwritten digits, in minutes.", reproduce.quickstart),
    "teacher": Command(TEACHER, partial(train, TEACHER, "teacher")),
    "train": Command(STUDENT, partial(train, STUDENT, "student")),
    "detection": Command(detection.ABOUT, detection.main),
    "eval": Command("How well a checkpoint does: top-1, top-5, per class, confusions.", evaluate.main),
    "probe": Command("A linear classifier on a frozen network's features of other data sets.", linear_probe.main),
    "export": Command("Write a trained network for use elsewhere: safetensors, torch.export, ONNX.", export.main),
    "collect": Command("Tables of finished runs, with published values beside them.", collect.main),
    "reproduce": Command("Make all runs of a table of the literature.", reproduce.main),
    "sweep": Command("Vary one setting of the ICC recipe and measure.", sweep.main),
    "analyze": Command("Compare teachers' feature spaces and soft labels.", analyze.main),
}


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of the first word."""
    commands = "\n".join(f"  {name:12}{command.about}" for name, command in COMMANDS.items())
    made = Parser(
        prog=prog,
        description="Teachers whose soft labels keep the differences inside a class, and students of them.",
        epilog=f"commands:\n{commands}\n\n{prog} COMMAND --help says what a command takes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"mdistiller_icc {__version__}")
    made.add_argument("command", nargs="?", metavar="COMMAND", help="one of those below")
    made.add_argument("words", nargs=argparse.REMAINDER, metavar="...", help="its own arguments")
    return made


def main(words: Sequence[str] | None = None, prog: str = "mdistiller-icc") -> int:
    """Run the command that the first word names.

    Raises:
        UserError: there is none of that name.
    """
    given = parser(prog).parse_args(words)
    if given.command is None:
        parser(prog).print_help()
        return 2
    if given.command not in COMMANDS:
        raise UserError(
            f"no command '{given.command}'{nearest(given.command, COMMANDS)}; there are {', '.join(COMMANDS)}"
        )
    return COMMANDS[given.command].main(given.words, f"{prog} {given.command}")


def script() -> None:
    """The console script."""
    sys.exit(exit_status(main))
