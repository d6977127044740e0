"""Make one planned run in this process, and tell how it ended."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdistiller_icc.engine.progress import Progress
from mdistiller_icc.errors import UserError
from mdistiller_icc.reproduce.plan import PlannedRun
from mdistiller_icc.run import run as train

SECONDS_BETWEEN_MESSAGES = 0.5


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``finished``, ``failed``, ``interrupted`` or ``skipped``; in words, and its last test top-1."""

    status: str
    words: str = ""
    top1: float | None = None


class Reporter:
    """A `Progress` for a run that nobody watches directly: it passes on how far the run is, a few times a second.

    Args:
        tell: called with (steps taken, all steps, the last epoch's metrics or None).
    """

    def __init__(self, tell: Callable[[int, int, dict[str, Any] | None], None]) -> None:
        self.tell = tell
        self.steps = self.taken = 0
        self.metrics: dict[str, Any] | None = None
        self.told = 0.0

    def start(self, title: str, epochs: int, steps: int, done: int) -> None:
        self.steps, self.taken = epochs * steps, done * steps
        self._tell()

    def step(self) -> None:
        self.taken += 1
        if time.monotonic() - self.told > SECONDS_BETWEEN_MESSAGES:
            self._tell()

    def epoch(self, metrics: dict[str, Any]) -> None:
        self.metrics = metrics

    def note(self, line: str) -> None:
        print(line)

    def close(self) -> None: ...

    def _tell(self) -> None:
        self.told = time.monotonic()
        self.tell(self.taken, self.steps, self.metrics)


def execute(run: PlannedRun, device: str, progress: Progress) -> Outcome:
    """Make the run, or go on with it from its checkpoint; what it prints goes to ``console.txt`` in its folder.

    Raises:
        KeyboardInterrupt: it was stopped; the record says so.
    """
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return Outcome("failed", f"{run.folder}: {error.strerror}")
    console = run.folder / "console.txt"
    with _teachers_in(run.store), _printing_to(console):
        try:
            record = train(run.cfg, run.role, device=device, resume=True, progress=progress)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return Outcome("failed", str(error))
        except Exception as error:
            traceback.print_exc()
            return Outcome("failed", f"{type(error).__name__}: {error} (traceback: {console})")
    return Outcome("finished", top1=record["top1"]["last"])


@contextlib.contextmanager
def _teachers_in(folder: str) -> Iterator[None]:
    """Make ``folder`` the teacher store."""
    before = os.environ.get("MDISTILLER_ICC_TEACHERS", "")  # empty is as good as not there
    os.environ["MDISTILLER_ICC_TEACHERS"] = folder
    try:
        yield
    finally:
        os.environ["MDISTILLER_ICC_TEACHERS"] = before


@contextlib.contextmanager
def _printing_to(file: Path) -> Iterator[None]:
    """Send standard output and error to the end of a file, also what compiled code prints."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with open(file, "ab") as opened:
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
