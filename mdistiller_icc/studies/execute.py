"""Make one planned run in this process, and tell how it ended."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mdistiller_icc.errors import UserError
from mdistiller_icc.own_code import import_all
from mdistiller_icc.run import run as train
from mdistiller_icc.run.processes import one_voice
from mdistiller_icc.studies.plan import PlannedRun


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``finished``, ``failed``, ``interrupted`` or ``skipped``; in words, and its last test top-1."""

    status: str
    words: str = ""
    top1: float | None = None


def execute(run: PlannedRun, device: str) -> Outcome:
    """Make the run, or this process's part of it, or go on with it from its checkpoint.

    What it prints goes to ``console.txt`` in its folder.

    Raises:
        KeyboardInterrupt: it was stopped; the record says so.
    """
    if failed := no_folder(run):
        return failed
    with environment(MDISTILLER_ICC_TEACHERS=run.store), printing_to(run.console):
        try:
            with one_voice():
                import_all(run.imports)
                record = train(run.cfg, run.role, device=device, resume=True)
            return Outcome("finished", top1=record["top1"]["last"])
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return Outcome("failed", str(error))
        except Exception as error:
            traceback.print_exc()
            return Outcome("failed", f"{type(error).__name__}: {error} (traceback: {run.console})")


def no_folder(run: PlannedRun) -> Outcome | None:
    """Make the run's folder; if that cannot be done, why."""
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return Outcome("failed", f"{run.folder}: {error.strerror}")
    return None


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def printing_to(file: Path) -> Iterator[None]:
    """Send standard output and error to the end of a file, also what compiled code prints."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with open(file, "ab") as opened:
        os.utime(file)  # by which whoever watches sees that the run has begun
        os.dup2(opened.fileno(), 1)
        os.dup2(opened.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, before in zip((1, 2), kept, strict=True):
            os.dup2(before, number)
            os.close(before)
