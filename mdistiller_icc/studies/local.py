"""Runs on this machine, one or several at once: each place has a device and a worker process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess

import torch

from mdistiller_icc.errors import stop_when_terminated
from mdistiller_icc.studies.child import die_with_parent, ended
from mdistiller_icc.studies.execute import Outcome, execute
from mdistiller_icc.studies.order import another_is_at, ready
from mdistiller_icc.studies.places import Place
from mdistiller_icc.studies.plan import PlannedRun
from mdistiller_icc.studies.together import execute_together
from mdistiller_icc.studies.watch import SECONDS_BETWEEN_LOOKS, Watch

SECONDS_TO_STOP = 20


def run_all(left: Sequence[PlannedRun], places: Sequence[Place], threads: int, watch: Watch) -> None:
    """Make every run; a failed one is told to ``watch``, the students of its teacher are skipped, the others go on.

    Args:
        left: the runs to make, every student after its teacher; a teacher that is not among them is there already.
        places: one for every run that may go on at the same time.
        threads: of each process that trains.

    Raises:
        KeyboardInterrupt: after the processes have stopped, each leaving a state to continue from.
    """
    waiting = list(left)
    workers = [Worker(place, threads) for place in places[: len(waiting)]]
    going: dict[Future[Outcome], tuple[PlannedRun, Worker]] = {}
    try:
        while waiting or going:
            idle = [worker for worker in workers if worker not in (busy for _run, busy in going.values())]
            for run in ready(waiting, left, watch):
                if idle:
                    waiting.remove(run)
                    worker = idle.pop(0)
                    going[worker.make(run)] = run, worker
            if going:
                done, _going = wait(going, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
            else:  # what is left is made elsewhere
                done = set()
                time.sleep(SECONDS_BETWEEN_LOOKS)
            watch.look()
            for future in done:
                run, worker = going.pop(future)
                outcome = worker.outcome(future)
                if another_is_at(run, outcome):
                    waiting.append(run)
                else:
                    watch.end(run, outcome)
    finally:
        _stop(workers, going)


class Worker:
    """The process that makes the runs of a place, one after another, so that importing torch is paid for once.

    Where a run takes several processes, it starts those of each run and looks after them.
    """

    def __init__(self, place: Place, threads: int) -> None:
        self.place, self.threads = place, threads
        self.pool: ProcessPoolExecutor | None = None
        self.process: BaseProcess | None = None

    def make(self, run: PlannedRun) -> Future[Outcome]:
        """Begin a run, in a new process where there is none or it has died."""
        if self.pool is None or self.process is None or not self.process.is_alive():
            # One worker in a pool of its own, so that its death is the end of its own run and of no other.
            context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
            self.pool = ProcessPoolExecutor(
                1, mp_context=context, initializer=_begin, initargs=(self.place, self.threads)
            )
            before = multiprocessing.active_children()
            future = self.pool.submit(_make, run, self.place, self.threads)
            (self.process,) = [child for child in multiprocessing.active_children() if child not in before]
            return future
        return self.pool.submit(_make, run, self.place, self.threads)

    def outcome(self, future: Future[Outcome]) -> Outcome:
        """How a run ended."""
        try:
            return future.result()
        except BrokenProcessPool:
            return Outcome("failed", f"its process {self._ended()}")

    def terminate(self) -> None:
        """Ask the process to stop its run."""
        if self.process is not None:
            self.process.terminate()

    def close(self, at_once: bool) -> None:
        """End the process."""
        if self.process is not None and at_once:
            self.process.kill()
        if self.pool is not None:
            self.pool.shutdown()

    def _ended(self) -> str:
        if self.pool is None or self.process is None:
            return "did not start"
        # Its thread waits for the process. Of two who wait for one, the other is told no status.
        self.pool.shutdown()
        return ended(self.process.exitcode)


def _stop(workers: Sequence[Worker], going: dict[Future[Outcome], tuple[PlannedRun, Worker]]) -> None:
    """End the processes, those that are at a run after it has left a state to continue from."""
    for _run, worker in going.values():
        worker.terminate()
    _ended, late = wait(going, SECONDS_TO_STOP)
    stuck = [going[future][1] for future in late]
    for worker in workers:
        worker.close(at_once=worker in stuck)


def _begin(place: Place, threads: int) -> None:
    """Settle a worker process: Ctrl-C is left to the parent, which terminates those at a run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    torch.set_num_threads(threads)
    if place.processes > 1 and sys.platform != "win32":
        os.setsid()  # torchrun's functions would listen to Ctrl-C in the terminal
    if place.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = place.visible


def _make(run: PlannedRun, place: Place, threads: int) -> Outcome:
    """One run, in a worker process; being terminated stops it as Ctrl-C would, and its record says so."""
    stop_when_terminated()
    try:
        return execute(run, place.device) if place.processes == 1 else execute_together(run, place, threads)
    except KeyboardInterrupt:
        return Outcome("interrupted", "its process was told to stop")
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
