"""Runs on Ray: each is a task, which Ray places on this machine or on a cluster, and retries when it is lost."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from mdistiller_icc.errors import UserError
from mdistiller_icc.studies.execute import Outcome, execute
from mdistiller_icc.studies.plan import PlannedRun
from mdistiller_icc.studies.watch import SECONDS_BETWEEN_LOOKS, Watch

RETRIES = 5
SECONDS_TO_STOP = 20


def run_all(
    left: Sequence[PlannedRun], address: str | None, device: str, at_once: int, jobs: int, watch: Watch
) -> None:
    """Make every run; a run whose worker is lost is begun again from its checkpoint.

    Machines of a cluster must see the working folder under the same path.

    Args:
        left: the runs to make, every student after its teacher; a teacher that is not among them is there already.
        address: of a running cluster; None starts Ray on this machine.
        device: ``cpu``, ``cuda``, or ``auto`` for GPUs where Ray has any.
        at_once: runs that go on at the same time where Ray is started here.
        jobs: runs that share a GPU.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
        KeyboardInterrupt: after the runs have stopped, each leaving a state to continue from.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise UserError("--engine ray: Ray is not installed: pip install 'mdistiller_icc[ray]'") from None
    here: dict[str, Any] = {} if address else {"num_cpus": at_once, "include_dashboard": False}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **here)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--engine ray: {str(error).splitlines()[0]}") from None
    try:
        on_gpu = device.startswith("cuda") or (device == "auto" and "GPU" in ray.cluster_resources())
        task = ray.remote(num_cpus=1, num_gpus=1 / jobs if on_gpu else 0, max_retries=RETRIES)(_make)
        tasks: dict[PlannedRun, Any] = {}
        for run in left:
            # A student is given its teacher's outcome, so Ray starts it when there is one.
            teacher = tasks.get(run.teacher) if run.teacher is not None else None
            tasks[run] = task.remote(run, "cuda" if on_gpu else "cpu", os.getcwd(), sys.argv, teacher)
        try:
            _follow(ray, tasks, watch)
        except KeyboardInterrupt:
            for ref in tasks.values():
                ray.cancel(ref)
            ray.wait(list(tasks.values()), num_returns=len(tasks), timeout=SECONDS_TO_STOP)
            raise
    finally:
        ray.shutdown()


def _make(run: PlannedRun, device: str, folder: str, command: list[str], teacher: Outcome | None) -> Outcome:
    """The task: one run, in a worker process of Ray's."""
    if run.teacher is not None and teacher is not None and teacher.status != "finished":
        return Outcome("skipped", f"it needs {run.teacher.name}")
    os.chdir(folder)
    sys.argv = command  # which the record tells
    return execute(run, device)


def _follow(ray: Any, tasks: dict[PlannedRun, Any], watch: Watch) -> None:
    """Tell ``watch`` how the tasks end until all of them have."""
    left = {ref: run for run, ref in tasks.items()}
    while left:
        ended, _going = ray.wait(list(left), num_returns=1, timeout=SECONDS_BETWEEN_LOOKS)
        watch.look()
        for ref in ended:
            try:
                outcome = ray.get(ref)
            except ray.exceptions.RayError as error:
                lost = str(error).strip().splitlines()[0]
                outcome = Outcome("failed", f"its worker was lost {RETRIES + 1} times: {type(error).__name__}: {lost}")
            watch.end(left.pop(ref), outcome)
