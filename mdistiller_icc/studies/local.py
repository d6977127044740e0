"""Runs on this machine, one or several at once: each place has a device and a worker process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess

import torch

from mdistiller_icc.errors import stop_when_terminated
from mdistiller_icc.studies.execute import Outcome, execute
from mdistiller_icc.studies.plan import PlannedRun
from mdistiller_icc.studies.watch import SECONDS_BETWEEN_LOOKS, Watch

SECONDS_TO_STOP = 20


def run_all(left: Sequence[PlannedRun], devices: Sequence[str], threads: int, watch: Watch) -> None:
    """Make every run; a failed one is told to ``watch``, the students of its teacher are skipped, the others go on.

    Args:
        left: the runs to make, every student after its teacher; a teacher that is not among them is there already.
        devices: one for every run that may go on at the same time.
        threads: of each process.

    Raises:
        KeyboardInterrupt: after the processes have stopped, each leaving a state to continue from.
    """
    waiting = list(left)
    places = [Place(device, threads) for device in devices[: len(waiting)]]
    going: dict[Future[Outcome], tuple[PlannedRun, Place]] = {}
    try:
        while waiting or going:
            idle = [place for place in places if place not in (busy for _run, busy in going.values())]
            for run in list(waiting):
                if run.teacher in watch.outcomes and watch.outcomes[run.teacher].status != "finished":
                    waiting.remove(run)
                    watch.end(run, Outcome("skipped", f"it needs {run.teacher.name}"))
                elif idle and (run.teacher not in left or run.teacher in watch.outcomes):
                    waiting.remove(run)
                    place = idle.pop(0)
                    going[place.make(run)] = run, place
            ended, _going = wait(going, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
            watch.look()
            for future in ended:
                run, place = going.pop(future)
                watch.end(run, place.outcome(future))
    finally:
        _stop(places, going)


class Place:
    """A device and the process that makes runs on it, one after another, so that importing torch is paid for once."""

    def __init__(self, device: str, threads: int) -> None:
        self.device, self.threads = device, threads
        self.pool: ProcessPoolExecutor | None = None
        self.process: BaseProcess | None = None

    def make(self, run: PlannedRun) -> Future[Outcome]:
        """Begin a run, in a new process where there is none or it has died."""
        if self.pool is None or self.process is None or not self.process.is_alive():
            # One worker in a pool of its own, so that its death is the end of its own run and of no other.
            context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
            self.pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(self.threads,))
            before = multiprocessing.active_children()
            future = self.pool.submit(_make, run, self.device)
            (self.process,) = [child for child in multiprocessing.active_children() if child not in before]
            return future
        return self.pool.submit(_make, run, self.device)

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
        if self.process is None:
            return "did not start"
        self.process.join()
        status = self.process.exitcode
        if status is None or status >= 0:
            return f"ended with status {status}"
        name = signal.Signals(-status).name
        return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _stop(places: Sequence[Place], going: dict[Future[Outcome], tuple[PlannedRun, Place]]) -> None:
    """End the processes, those that are at a run after it has left a state to continue from."""
    for _run, place in going.values():
        place.terminate()
    _ended, late = wait(going, SECONDS_TO_STOP)
    stuck = [going[future][1] for future in late]
    for place in places:
        place.close(at_once=place in stuck)


def _begin(threads: int) -> None:
    """Settle a worker process: Ctrl-C is left to the parent, which terminates those at a run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=die_with_parent, daemon=True).start()
    torch.set_num_threads(threads)


def _make(run: PlannedRun, device: str) -> Outcome:
    """One run, in a worker process; being terminated stops it as Ctrl-C would, and its record says so."""
    stop_when_terminated()
    try:
        return execute(run, device)
    except KeyboardInterrupt:
        return Outcome("interrupted", "its process was told to stop")
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def die_with_parent() -> None:
    """Wait for the parent's end and end too.

    One that was killed cannot stop its workers, and a second start would meet them in its folders.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
