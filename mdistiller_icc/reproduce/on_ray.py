"""The engine on Ray: runs are Ray tasks, which Ray places on this machine or on a cluster, and retries when lost."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from mdistiller_icc.errors import UserError
from mdistiller_icc.reproduce.execute import Outcome, Reporter, execute
from mdistiller_icc.reproduce.plan import PlannedRun
from mdistiller_icc.reproduce.watch import Watch

RETRIES = 5
SECONDS_TO_STOP = 20


def run_all(
    runs: Sequence[PlannedRun],
    finished: Iterable[str],
    address: str | None,
    device: str,
    at_once: int,
    jobs: int,
    watch: Watch,
) -> None:
    """Make every run that is not finished; a run whose worker is lost is begun again from its checkpoint.

    Machines of a cluster must see the working folder under the same path.

    Args:
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
        from ray.util.queue import Queue
    except ModuleNotFoundError:
        raise UserError("--engine ray: Ray is not installed: pip install 'mdistiller_icc[ray]'") from None
    here = {} if address else {"num_cpus": at_once, "include_dashboard": False}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="error", **here)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--engine ray: {str(error).splitlines()[0]}") from None
    try:
        on_gpu = device.startswith("cuda") or (device == "auto" and "GPU" in ray.cluster_resources())
        messages = Queue(actor_options={"num_cpus": 0})
        task = ray.remote(num_cpus=1, num_gpus=1 / jobs if on_gpu else 0, max_retries=RETRIES)(_make)
        refs: dict[str, Any] = {}
        for run in runs:
            if run.title in finished:
                continue
            # A student is given its teacher's outcome, so Ray starts it when there is one.
            needed = [refs[run.teacher.title]] if run.teacher is not None and run.teacher.title in refs else []
            refs[run.title] = task.remote(run, "cuda" if on_gpu else "cpu", os.getcwd(), messages, *needed)
        try:
            _follow(ray, {run.title: run for run in runs}, refs, messages, watch)
        except KeyboardInterrupt:
            for ref in refs.values():
                ray.cancel(ref)
            ray.wait(list(refs.values()), num_returns=len(refs), timeout=SECONDS_TO_STOP)
            raise
    finally:
        ray.shutdown()


def _make(run: PlannedRun, device: str, folder: str, messages: Any, *needed: Outcome) -> Outcome:
    """The task: one run, in a worker process of Ray's."""
    if any(outcome.status != "finished" for outcome in needed):
        return Outcome("skipped", f"it needs {run.teacher.name if run.teacher else ''}")
    os.chdir(folder)
    messages.put_nowait((run.title, None))
    return execute(run, device, Reporter(lambda *progress: messages.put_nowait((run.title, progress))))


def _follow(ray: Any, runs: dict[str, PlannedRun], refs: dict[str, Any], messages: Any, watch: Watch) -> None:
    """Tell ``watch`` what comes from the tasks until all of them have ended."""
    names = {ref: name for name, ref in refs.items()}
    while names:
        ended, _going = ray.wait(list(names), num_returns=1, timeout=0.5)
        for name, progress in messages.get_nowait_batch(messages.qsize()):
            if progress is None:
                watch.begin(runs[name])
            elif refs[name] in names:
                watch.at(runs[name], *progress)
        for ref in ended:
            name = names.pop(ref)
            try:
                outcome = ray.get(ref)
            except ray.exceptions.RayError as error:
                lost = str(error).strip().splitlines()[0]
                outcome = Outcome("failed", f"its worker was lost {RETRIES + 1} times: {type(error).__name__}: {lost}")
            watch.end(runs[name], outcome)
