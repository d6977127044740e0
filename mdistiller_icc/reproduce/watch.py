"""What a person watching a study sees: what is running, how much is left, the accuracy so far."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from mdistiller_icc.reproduce.execute import Outcome
from mdistiller_icc.reproduce.plan import PlannedRun

FORMAT = "{desc} |{bar:16}| {told}"


class _Bar(tqdm):
    told = ""

    @property
    def format_dict(self) -> dict[str, Any]:
        return super().format_dict | {"told": self.told}


@dataclass
class _Going:
    """A run that is going on: since when, from which share of it on, and how far it is."""

    since: float
    first: float | None = None
    share: float = 0.0
    top1: float | None = None


class Watch:
    """One bar for all runs on a terminal; a line per finished run where standard error is none, or a dumb one.

    Args:
        title: of the study.
        runs: all of them.
        finished: titles of those that were finished before.
        jobs: how many go on at the same time.
        expected: seconds a run takes, from past records, by its title.
    """

    def __init__(
        self, title: str, runs: Sequence[PlannedRun], finished: Sequence[str], jobs: int, expected: dict[str, float]
    ) -> None:
        self.runs = {run.title: run for run in runs if run.title not in finished}
        self.all, self.jobs, self.title = len(runs), jobs, title
        self.outcomes: dict[str, Outcome] = {}
        self.going: dict[str, _Going] = {}
        self.left = TimeLeft(expected)
        self.begun = time.monotonic()
        drawn = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.bar = _Bar(total=self.all, bar_format=FORMAT, dynamic_ncols=True) if drawn else None
        self._draw()

    def begin(self, run: PlannedRun) -> None:
        self.going[run.title] = _Going(time.monotonic())
        self._draw()

    def at(self, run: PlannedRun, taken: int, steps: int, metrics: dict[str, Any] | None) -> None:
        going = self.going[run.title]
        going.share = taken / steps
        if going.first is None:
            going.since, going.first = time.monotonic(), going.share
        if metrics is not None and metrics.get("test_top1") is not None:
            going.top1 = metrics["test_top1"]
        self.left.learn(run, time.monotonic() - going.since, going.share - going.first)
        self._draw()

    def end(self, run: PlannedRun, outcome: Outcome) -> None:
        going = self.going.pop(run.title, None)
        self.outcomes[run.title] = outcome
        seconds = 0.0
        if going is not None:
            seconds = time.monotonic() - going.since
            if outcome.status == "finished":
                self.left.learn(run, seconds, 1 - (going.first or 0.0))
        if outcome.status != "finished":
            self._say(f"{outcome.status}: {run.name}: {outcome.words}")
        elif self.bar is None:
            what = f"{outcome.top1:.2f} %" if outcome.top1 is not None else "no accuracy"
            self._say(f"[{self._done()}/{self.all}] {run.name}: {what} in {clock(seconds)}; {self._times()}")
        self._draw()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def _done(self) -> int:
        return self.all - len(self.runs) + sum(outcome.status == "finished" for outcome in self.outcomes.values())

    def _times(self) -> str:
        unfinished = {
            name: 1 - (self.going[name].share if name in self.going else 0.0)
            for name in self.runs
            if name not in self.outcomes
        }
        seconds = self.left.estimate([(self.runs[name], share) for name, share in unfinished.items()], self.jobs)
        left = "?" if seconds is None else clock(seconds)
        return f"{clock(time.monotonic() - self.begun)} elapsed, {left} left"

    def _draw(self) -> None:
        if self.bar is None:
            return
        self.bar.n = self.all - len(self.runs) + len(self.outcomes) + sum(g.share for g in self.going.values())
        self.bar.set_description_str(f"{self.title} {self._done()}/{self.all} runs", refresh=False)
        self.bar.told = self._times()
        if self.going:
            title, furthest = max(self.going.items(), key=lambda item: item[1].share)
            top1 = f", {furthest.top1:.2f} %" if furthest.top1 is not None else ""
            more = f" +{len(self.going) - 1} more" if len(self.going) > 1 else ""
            self.bar.told += f"  {self.runs[title].name} ({100 * furthest.share:.0f} % done{top1}){more}"
        self.bar.update(0)

    def _say(self, line: str) -> None:
        write: Callable[..., None] = print if self.bar is None else tqdm.write
        write(line, file=sys.stderr)
        sys.stderr.flush()


class TimeLeft:
    """How long runs take: as long as their like did in this study, else in past records, else as long as the mean.

    Args:
        expected: seconds, by a run's title.
    """

    def __init__(self, expected: dict[str, float]) -> None:
        self.expected = expected
        self.learnt: dict[tuple[str, ...], float] = {}

    def learn(self, run: PlannedRun, seconds: float, share: float) -> None:
        """Note that this share of a run took so many seconds."""
        if share > 0.02:  # less than that is warming up
            self.learnt[_like(run)] = seconds / share

    def estimate(self, left: Sequence[tuple[PlannedRun, float]], jobs: int) -> float | None:
        """Seconds until runs, of which these shares are left, have ended; None if nothing is known."""
        whole = [self.learnt.get(_like(run), self.expected.get(run.title)) for run, _share in left]
        known = [seconds for seconds in whole if seconds is not None] or list(self.learnt.values())
        if left and not known:
            return None
        mean = sum(known) / len(known) if known else 0.0
        together = sum((mean if s is None else s) * share for s, (_run, share) in zip(whole, left, strict=True))
        return together / max(1, min(jobs, len(left)))


def _like(run: PlannedRun) -> tuple[str, ...]:
    node = run.cfg.DISTILLER
    return run.role, node.TYPE, node.STUDENT, node.TEACHER if run.role == "student" else ""


def clock(seconds: float) -> str:
    """Seconds as ``1:02`` or ``3:01:02``."""
    return tqdm.format_interval(round(seconds))
