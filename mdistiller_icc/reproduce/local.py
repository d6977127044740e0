"""The engine on this machine: runs one after another, or several at once in processes of their own."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from mdistiller_icc.reproduce.execute import Outcome
from mdistiller_icc.reproduce.plan import PlannedRun
from mdistiller_icc.reproduce.watch import Watch
from mdistiller_icc.reproduce.worker import serve

SECONDS_TO_STOP = 20


class Agenda:
    """What is left to do: hands out runs whose teachers are there, and drops those whose teachers will not come.

    Args:
        runs: in an order in which every run comes after those it needs.
        finished: titles of runs that were finished before.
    """

    def __init__(self, runs: Iterable[PlannedRun], finished: Iterable[str]) -> None:
        self.finished = set(finished)
        self.waiting = [run for run in runs if run.title not in self.finished]

    def next(self) -> PlannedRun | None:
        """The first run that can begin, or None if all of them wait for others."""
        for i, run in enumerate(self.waiting):
            if run.teacher is None or run.teacher.title in self.finished:
                return self.waiting.pop(i)
        return None

    def end(self, run: PlannedRun, outcome: Outcome) -> list[tuple[PlannedRun, Outcome]]:
        """Note how a run ended and return it with the runs that will not be made because of it."""
        if outcome.status == "finished":
            self.finished.add(run.title)
            return [(run, outcome)]
        ended = [(run, outcome)]
        for other in [other for other in self.waiting if other.teacher is run]:
            self.waiting.remove(other)
            ended += self.end(other, Outcome("skipped", f"it needs {run.name}"))
        return ended


class Worker:
    """A worker process, seen from here."""

    def __init__(self, device: str, threads: int) -> None:
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, device, threads))
        self.process.start()
        theirs.close()
        self.run: PlannedRun | None = None

    def begin(self, run: PlannedRun) -> None:
        self.run = run
        self.connection.send(run)

    def receive(self) -> Any:
        """The next message; an `Outcome` if the process is no more."""
        try:
            return self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return Outcome("failed", f"its process {_ended(self.process.exitcode)}")


def run_all(
    runs: Sequence[PlannedRun], finished: Iterable[str], devices: Sequence[str], threads: int, watch: Watch
) -> None:
    """Make every run that is not finished; a failed one is told to ``watch`` and the others go on.

    Args:
        devices: one for every run that may go on at the same time.
        threads: of each process.

    Raises:
        KeyboardInterrupt: after the processes have stopped, each leaving a state to continue from.
    """
    agenda = Agenda(runs, finished)
    free = list(reversed(devices))
    idle: list[tuple[Worker, str]] = []
    busy: dict[Connection, tuple[Worker, str]] = {}
    try:
        while True:
            free += [device for worker, device in idle if not worker.process.is_alive()]
            idle = [(worker, device) for worker, device in idle if worker.process.is_alive()]
            while (idle or free) and (run := agenda.next()) is not None:
                worker, device = idle.pop() if idle else (Worker(free[-1], threads), free.pop())
                worker.begin(run)
                watch.begin(run)
                busy[worker.connection] = worker, device
            if not busy:
                return
            for connection in wait(list(busy)):
                worker, device = busy[connection]
                message = worker.receive()
                if not isinstance(message, Outcome):
                    watch.at(worker.run, *message[1:])
                    continue
                del busy[connection]
                if worker.process.is_alive():
                    idle.append((worker, device))
                else:
                    free.append(device)
                for ended in agenda.end(worker.run, message):
                    watch.end(*ended)
    finally:
        _stop([worker for worker, _device in [*idle, *busy.values()]])


def _stop(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(SECONDS_TO_STOP)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _ended(status: int | None) -> str:
    if status is None or status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
