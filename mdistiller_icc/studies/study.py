"""A study: the runs of a table, told or made."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import joblib
import torch

from mdistiller_icc import data
from mdistiller_icc.errors import UserError
from mdistiller_icc.pair_settings import spelled
from mdistiller_icc.run import chosen_settings, processes
from mdistiller_icc.studies import local, on_ray
from mdistiller_icc.studies.estimate import Past, free, in_bytes, total
from mdistiller_icc.studies.places import places
from mdistiller_icc.studies.plan import PlannedRun, plan
from mdistiller_icc.studies.state import State, state
from mdistiller_icc.studies.table import Table
from mdistiller_icc.studies.timing import timed
from mdistiller_icc.studies.watch import Watch, clock


class Study:
    """The runs of a table and how far each of them is.

    Args:
        protocol: ``full`` or ``short``.
        seeds: the table's by default.
        options: overrides for every run.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, …
        jobs: runs at once; by default as many as there is room for.
        gpus_per_run: GPUs of a run, or the share of one; without GPUs the processes of a run.
        address: of a running Ray cluster, if its machines make the runs.

    Raises:
        UserError: a setting is wrong, or a folder or a teacher's place is taken by a run with other settings.
    """

    def __init__(
        self, table: Table, protocol: str = "full", seeds: Sequence[int] | None = None, options: Sequence[str] = (),
        device: str = "auto", jobs: int | None = None, gpus_per_run: float | None = None, address: str | None = None,
    ) -> None:  # fmt: skip
        self.table, self.protocol, self.device, self.address = at_hand(table, options), protocol, device, address
        self.jobs, self.gpus_per_run = jobs, gpus_per_run
        self.runs = plan(self.table, protocol, seeds, options)
        together = max(1, int(gpus_per_run or 1))
        for run in self.runs:
            processes.check(run.cfg, together)
        self.states: dict[PlannedRun, State] = {run: state(run) for run in self.runs}
        self.places = places(device, None if address else gpus_per_run, jobs, len(self.runs))
        folders = {Path(run.cfg.LOG.PREFIX) for run in self.runs}
        past = Past(folders, self.places[0].device.partition(":")[0], together)
        self.costs = {run: past.cost(run) for run in self.runs}
        self.timed = ""

    @property
    def left(self) -> list[PlannedRun]:
        """The runs that are not finished, in their order."""
        return [run for run in self.runs if self.states[run].status != "finished"]

    def time(self) -> None:
        """Take a few steps of every kind of run of which no past record tells, so that `told` knows its time too."""
        unknown = [run for run in self.left if self.costs[run].seconds is None]
        here = self.places[0]
        if not unknown or self.address or here.processes > 1:
            return
        print(f"no past records of {len(unknown)} runs: a few steps of each kind are timed", file=sys.stderr)
        try:
            found = timed(unknown, here.device, _threads(len(self.places)))
        except UserError as error:
            self.timed = f" (not timed: {error})"
            return
        self.costs |= {run: replace(self.costs[run], seconds=seconds) for run, seconds in found.items()}
        self.timed = f" ({len(found)} of the runs by a few steps on this machine)" if found else ""

    def told(self) -> str:
        """The plan in words: every run in the order they will be made, what is done, and what the rest will take."""
        lines = [f"{self.table.source}: {self.table.about}", ""]
        sources: dict[str, int] = {}
        rows = [(*self._row(run), _pair_settings(run, sources)) for run in self.runs]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        lines += ["", *(f"[{i}] {source}" for source, i in sources.items())] if sources else []
        count = Counter(state.status for state in self.states.values())
        lines += [
            "",
            f"{len(self.runs)} runs: {count['finished']} finished, {count['begun']} begun, {count['new']} new; "
            f"protocol {self.protocol}; folder {_all(run.folder.parent for run in self.runs)}; "
            f"teachers {self.runs[0].store}",
            f"{self._time()}{self.timed}; {self._disk()}",
        ]
        return "\n".join(lines)

    def _row(self, run: PlannedRun) -> tuple[str, ...]:
        state, cost = self.states[run], self.costs[run]
        of = f" {state.epoch}/{run.cfg.SOLVER.EPOCHS}, {state.now}" if state.status == "begun" else ""
        seconds, size = self._left(run), cost.size
        return (
            f"{state.status}{of}",
            run.role,
            run.name,
            "" if state.status == "finished" else "unknown" if seconds is None else clock(seconds),
            "" if state.status == "finished" else "unknown" if size is None else in_bytes(size),
            f"after {run.teacher.name}" if run.teacher and state.status != "finished" else "",
        )

    def _left(self, run: PlannedRun) -> float | None:
        seconds = self.costs[run].seconds
        share = 1 - self.states[run].epoch / run.cfg.SOLVER.EPOCHS
        return None if seconds is None else seconds * share

    def _time(self) -> str:
        seconds, unknown = total(self._left(run) for run in self.left)
        jobs, together = len(self.places), self.places[0].processes
        at_once = f", {jobs} at once" if jobs > 1 else ""
        at_once += f", {together} processes each" if together > 1 else ""
        if unknown == len(self.left) and self.left:
            return f"time{at_once}: unknown, no past records"
        more = f" and {unknown} runs of which no record tells" if unknown else ""
        return f"time{at_once}: about {clock(seconds / jobs)}{more}"

    def _disk(self) -> str:
        size, unknown = total(self.costs[run].size for run in self.left)
        there = f"{in_bytes(free(self.runs[0].folder))} free"
        if unknown == len(self.left) and self.left:
            return f"disk: unknown ({there})"
        more = f" and {unknown} runs of which no record tells" if unknown else ""
        return f"disk: about {in_bytes(size)}{more} ({there})"

    def make(self, engine: str = "local") -> int:
        """Make what is left and return the exit status: 0, or 1 if a run failed.

        Args:
            engine: ``local`` or ``ray``.

        Raises:
            KeyboardInterrupt: Ctrl-C; every run left a state to continue from.
        """
        jobs = len(self.places)
        expected = {run: cost.seconds for run, cost in self.costs.items() if cost.seconds is not None}
        left = self.left
        watch = Watch(self.table.name, left, len(self.runs) - len(left), jobs, expected)
        try:
            with contextlib.closing(watch):
                if engine == "ray":
                    cores = jobs * self.places[0].processes
                    on_ray.run_all(left, self.address, self.device, self.gpus_per_run, self.jobs, cores, watch)
                else:
                    local.run_all(left, self.places, _threads(jobs * self.places[0].processes), watch)
        finally:
            self._summarise(watch)
        return int(any(outcome.status != "finished" for outcome in watch.outcomes.values()))

    def _summarise(self, watch: Watch) -> None:
        count = Counter(outcome.status for outcome in watch.outcomes.values())
        before = f" ({watch.before} before)" if watch.before else ""
        done = watch.before + count["finished"]
        others = [f"{count[status]} {status}" for status in ("failed", "skipped") if count[status]]
        left = len(self.runs) - watch.before - len(watch.outcomes)
        others += [f"{left} left: the same command goes on"] if left else []
        print("; ".join([f"{done} of {len(self.runs)} runs finished{before}", *others]), file=sys.stderr)
        for run, outcome in watch.outcomes.items():
            if outcome.status == "failed":
                print(f"failed: {run.name}: {outcome.words}", file=sys.stderr)


def at_hand(table: Table, options: Sequence[str]) -> Table:
    """The table without the parts that may be left out and whose data set is not there, each told in a line.

    Raises:
        UserError: nothing is left.
    """
    parts = []
    for part in table.parts:
        if part.skip_missing:
            one = plan(replace(table, parts=[part]), seeds=[0], options=options)[0]
            try:
                data.load(one.cfg, 0, torch.device("cpu"))
            except UserError as error:
                print(f"left out: {error}", file=sys.stderr)
                continue
        parts.append(part)
    if not parts:
        raise UserError(f"{table.source}: none of its data sets is there")
    return replace(table, parts=parts)


def _pair_settings(run: PlannedRun, sources: dict[str, int]) -> str:
    """The published settings of a run's pair, with the number of their source, which is added to ``sources``."""
    of_pair = chosen_settings(run.cfg)
    if of_pair is None:
        return ""
    own = f"; own: {spelled(of_pair.instead)}" if of_pair.instead else ""
    if of_pair.found is None:
        return f"none published, defaults{own}"
    number = sources.setdefault(str(of_pair.found), len(sources) + 1)
    return f"published [{number}]: {spelled(of_pair.kept)}{own}"


def _all(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


def _threads(processes: int) -> int:
    """Threads of each of so many processes: small networks are trained faster by more processes than more threads."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else max(1, joblib.cpu_count() // processes)
