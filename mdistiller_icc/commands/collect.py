"""Tables of finished runs; the command line of ``tools/collect.py``."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence

from mdistiller_icc import whole_file
from mdistiller_icc.command_line import Parser
from mdistiller_icc.errors import UserError
from mdistiller_icc.paths import expand
from mdistiller_icc.tables import FORMATS, METRICS, SELECTIONS, render

BEGIN = {
    "md": r"# .*\n\nProtocol: ",
    "html": r"<!DOCTYPE html>\n(.*\n){,5}<title>Distillation results</title>",
    "latex": r"% Compiles as it stands\.\n",
    "csv": "entry,dataset,protocol,",
    "json": r'\{\n "schema": \d+,\n "metric": ',
}
"""How tables begin in the formats that come with the package: ``--out`` takes the place of such files alone."""


def main(words: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Print the table of the runs below some folders, or write it to a file."""
    args = parser(prog).parse_args(words)
    by_suffix = {form.SUFFIX: name for name, form in FORMATS.items()}
    form = args.format or by_suffix.get(os.path.splitext(args.out or "")[1], "md")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() and not args.out else None
    folders, pictures = ([expand(path, "FOLDER") for path in paths] for paths in (args.folders, args.pictures))
    text = render(folders, form, args.select, args.metric, pictures, width, args.methods, args.pairs, args.published)
    if args.out:
        write(str(expand(args.out, "--out")), text, form)
        print(f"wrote {args.out}")
        return 0
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``tools/collect.py``."""
    made = Parser(prog=prog, description="Tables of finished runs, with published values beside them.")
    made.add_argument("folders", nargs="+", metavar="FOLDER", help="searched for run folders, at any depth")
    made.add_argument("--format", choices=FORMATS, help="default: that of --out's ending, else md")
    made.add_argument("--out", metavar="FILE", help="write there instead of to the terminal")
    chosen = made.add_mutually_exclusive_group()
    chosen.add_argument(
        "--select",
        choices=SELECTIONS,
        default="last",
        help="a run's accuracy: at its last epoch (default), the mean of its last ten, at its best test epoch, "
        "or at the epoch chosen on images held out of the training set",
    )
    chosen.add_argument("--best", dest="select", action="store_const", const="best", help="the same as --select best")
    made.add_argument("--metric", choices=METRICS, help="default: top1, and every AP of detectors")
    made.add_argument("--methods", nargs="+", metavar="NAME", help="these alone, e.g. KD DKD")
    made.add_argument("--pairs", nargs="+", metavar="TEACHER:STUDENT", help="these alone, e.g. resnet56:resnet20")
    made.add_argument("--no-published", dest="published", action="store_false", help="without published values")
    made.add_argument(
        "--pictures",
        nargs="+",
        default=(),
        metavar="PNG",
        help="pictures for the HTML page; default: those below the folders that are named geometry* or lie in a "
        "folder named so",
    )
    return made


def write(path: str, text: str, form: str) -> None:
    """Write a file at once or not at all, and none in the place of a run's or of what is no table."""
    beside = os.path.join(os.path.dirname(os.path.realpath(path)), "record.json")
    if os.path.realpath(path) == beside or (os.path.lexists(path) and os.path.exists(beside)):
        raise UserError(f"{path}: would take the place of a run's file; name another with --out")
    try:
        if form in BEGIN:
            whole_file.check_ours(path, "|".join(BEGIN.values()), "--out")
        whole_file.write(path, text)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
