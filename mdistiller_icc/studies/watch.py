"""What a person watching a study sees: what is running, how much is left, the accuracy so far.

It is read from the runs' folders, wherever they are made.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tqdm import tqdm

from mdistiller_icc.studies.execute import Outcome
from mdistiller_icc.studies.plan import PlannedRun

FORMAT = "{desc} |{bar}| {unit}"
SECONDS_BETWEEN_LOOKS = 0.5


@dataclass
class _Going:
    """A run that is going on: since when, from which epoch on, and how far it is."""

    since: float
    first: int
    epoch: int
    top1: float | None = None


class Watch:
    """A line per finished run on standard error, and on a terminal a bar for all runs below, and what is going on.

    Args:
        title: of the study.
        left: the runs that are not finished.
        before: how many were finished before.
        jobs: how many go on at the same time.
        expected: seconds a run takes, from past records.
    """

    def __init__(
        self, title: str, left: Sequence[PlannedRun], before: int, jobs: int, expected: dict[PlannedRun, float]
    ) -> None:
        self.left, self.before, self.jobs, self.title = list(left), before, jobs, title
        self.all = len(left) + before
        self.outcomes: dict[PlannedRun, Outcome] = {}
        self.going: dict[PlannedRun, _Going] = {}
        self.consoles = {run: _written(run) for run in left}
        self.elsewhere: set[PlannedRun] = set()
        self.time_left = TimeLeft(expected)
        self.begun = time.monotonic()
        drawn = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.bar = tqdm(total=self.all, bar_format=FORMAT, dynamic_ncols=True) if drawn else None
        self.now = tqdm(bar_format="{desc}", position=1, leave=False, dynamic_ncols=True) if drawn else None
        self._draw()

    def look(self) -> None:
        """See in the runs' folders which of them have begun and how far they are."""
        now = time.monotonic()
        for run in self.left:
            if run in self.outcomes or (run not in self.going and _written(run) == self.consoles[run]):
                continue
            epoch, top1 = _progress(run)
            going = self.going.setdefault(run, _Going(now, epoch, epoch, top1))
            if epoch > going.epoch:
                going.epoch, going.top1 = epoch, top1
                self.time_left.learn(run, now - going.since, (epoch - going.first) / run.cfg.SOLVER.EPOCHS)
        self._draw()

    def leave(self, run: PlannedRun) -> None:
        """A run is left to another process that is at it, which is told once."""
        if run not in self.elsewhere:
            self.elsewhere.add(run)
            self._say(f"elsewhere: {run.name}: another process is at this run")

    def end(self, run: PlannedRun, outcome: Outcome) -> None:
        """A run has ended, here or elsewhere."""
        going = self.going.pop(run, None)
        self.outcomes[run] = outcome
        seconds = 0.0
        if going is not None:
            seconds = time.monotonic() - going.since
            if outcome.status == "finished":
                self.time_left.learn(run, seconds, 1 - going.first / run.cfg.SOLVER.EPOCHS)
        if outcome.status != "finished":
            self._say(f"{outcome.status}: {run.name}: {outcome.words}")
        else:
            what = f"{outcome.top1:.2f} %" if outcome.top1 is not None else "no accuracy"
            self._say(f"[{self._done()}/{self.all}] {run.name}: {what} in {clock(seconds)}; {self._times()}")
        self._draw()

    def close(self) -> None:
        """Leave the bar as it stands, and the terminal to others."""
        for bar in (self.now, self.bar):
            if bar is not None:
                bar.close()

    def _done(self) -> int:
        return self.before + sum(outcome.status == "finished" for outcome in self.outcomes.values())

    def _share(self, run: PlannedRun) -> float:
        return self.going[run].epoch / run.cfg.SOLVER.EPOCHS if run in self.going else 0.0

    def _times(self) -> str:
        unfinished = [(run, 1 - self._share(run)) for run in self.left if run not in self.outcomes]
        seconds = self.time_left.estimate(unfinished, self.jobs)
        left = "?" if seconds is None else clock(seconds)
        return f"{clock(time.monotonic() - self.begun)} elapsed, {left} left"

    def _draw(self) -> None:
        if self.bar is None or self.now is None:
            return
        self.bar.n = self.before + len(self.outcomes) + sum(map(self._share, self.going))
        self.bar.set_description_str(f"{self.title} {self._done()}/{self.all} runs", refresh=False)
        self.bar.unit = self._times()
        going = ""
        if self.going:
            furthest = max(self.going, key=self._share)
            top1 = self.going[furthest].top1
            told = f", {top1:.2f} %" if top1 is not None else ""
            more = f" +{len(self.going) - 1} more" if len(self.going) > 1 else ""
            going = f"  {furthest.name} ({100 * self._share(furthest):.0f} % done{told}){more}"
        self.now.set_description_str(going, refresh=False)
        self.bar.refresh()
        self.now.refresh()

    def _say(self, line: str) -> None:
        if self.bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            tqdm.write(line, file=sys.stderr)


def _written(run: PlannedRun) -> int | None:
    """When the run's console was last written to; None if never."""
    try:
        return run.console.stat().st_mtime_ns
    except OSError:
        return None


def _progress(run: PlannedRun) -> tuple[int, float | None]:
    """The epochs a run has trained, and its latest test top-1."""
    try:
        lines = (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        epochs = [json.loads(line) for line in lines]
    except (OSError, ValueError):  # there is none yet, or its last line is being written
        return 0, None
    tested = [epoch["test_top1"] for epoch in epochs if epoch.get("test_top1") is not None]
    return len(epochs), tested[-1] if tested else None


class TimeLeft:
    """How long runs take: as long as their like did in this study, else in past records, else as long as the mean.

    Args:
        expected: seconds, by run.
    """

    def __init__(self, expected: dict[PlannedRun, float]) -> None:
        self.expected = expected
        self.learnt: dict[tuple[str, ...], float] = {}

    def learn(self, run: PlannedRun, seconds: float, share: float) -> None:
        """Note that this share of a run took so many seconds."""
        if share > 0.02:  # less than that is warming up
            self.learnt[_like(run)] = seconds / share

    def estimate(self, left: Sequence[tuple[PlannedRun, float]], jobs: int) -> float | None:
        """Seconds until runs, of which these shares are left, have ended; None if nothing is known."""
        whole = [self.learnt.get(_like(run), self.expected.get(run)) for run, _share in left]
        known = [seconds for seconds in whole if seconds is not None] or list(self.learnt.values())
        if left and not known:
            return None
        mean = sum(known) / len(known) if known else 0.0
        together = sum((mean if s is None else s) * share for s, (_run, share) in zip(whole, left, strict=True))
        return together / max(1, min(jobs, len(left)))


def _like(run: PlannedRun) -> tuple[str, ...]:
    node = run.cfg.DISTILLER
    return run.cfg.DATASET.TYPE, run.role, node.TYPE, node.STUDENT, node.TEACHER if run.role == "student" else ""


def clock(seconds: float) -> str:
    """Seconds as ``1:02`` or ``3:01:02``."""
    return tqdm.format_interval(round(seconds))
