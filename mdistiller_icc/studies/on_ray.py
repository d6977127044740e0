"""Runs on Ray, which places each on this machine or on a cluster: all processes of a run, or none."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from mdistiller_icc.errors import UserError
from mdistiller_icc.studies.execute import Outcome, environment, execute
from mdistiller_icc.studies.order import another_is_at, ready
from mdistiller_icc.studies.places import Room, on_cpus, on_gpus
from mdistiller_icc.studies.plan import PlannedRun
from mdistiller_icc.studies.watch import SECONDS_BETWEEN_LOOKS, Watch

RETRIES = 5
SECONDS_TO_STOP = 20
SECONDS_TO_END = 5
"""How long the other processes of a run have to end, too, when one has failed or was lost."""


def run_all(
    left: Sequence[PlannedRun], address: str | None, device: str, gpus_per_run: float | None, jobs: int | None,
    cores: int, watch: Watch,
) -> None:  # fmt: skip
    """Make every run; a run that loses a process is begun again from its checkpoint.

    Machines of a cluster must see the working folder under the same path.

    Args:
        left: the runs to make, every student after its teacher; a teacher that is not among them is there already.
        address: of a running cluster; None starts Ray on this machine.
        device: ``cpu``, ``cuda``, or ``auto`` for GPUs where Ray has any.
        gpus_per_run: GPUs of a run, or the share of one; without GPUs the processes of a run.
        jobs: runs at once; by default as many as there is room for.
        cores: that Ray has where it is started here.

    Raises:
        UserError: Ray is not installed, there is no cluster at the address, or too few GPUs or cores in it.
        KeyboardInterrupt: after the runs have stopped, each leaving a state to continue from.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise UserError("--engine ray: Ray is not installed: pip install 'mdistiller_icc[ray]'") from None
    here: dict[str, Any] = {} if address else {"num_cpus": cores, "include_dashboard": False}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **here)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--engine ray: {str(error).splitlines()[0]}") from None
    try:
        there = ray.cluster_resources()
        on_gpu = device.startswith("cuda") or (device == "auto" and "GPU" in there)
        count = int(there.get("GPU" if on_gpu else "CPU", 0))
        if on_gpu and not count:
            raise UserError(f"--device {device}: Ray has no GPU")
        room = (on_gpus if on_gpu else on_cpus)(count, gpus_per_run, jobs)
        if room.processes > int(there.get("CPU", 0)):
            raise UserError(f"--gpus-per-run {gpus_per_run:g}: each process takes a core, and Ray has {there['CPU']:g}")
        watch.jobs = room.at_once
        _make_all(left, room, on_gpu, watch)
    finally:
        ray.shutdown()


def _make_all(left: Sequence[PlannedRun], room: Room, on_gpu: bool, watch: Watch) -> None:
    """Have as many runs going on as there is room for, until all have ended."""
    waiting, going, tries = list(left), dict[PlannedRun, _Going](), Counter[PlannedRun]()
    try:
        while waiting or going:
            for run in ready(waiting, left, watch):
                if len(going) < room.at_once:
                    waiting.remove(run)
                    going[run] = _Going(run, room, on_gpu)
                    tries[run] += 1
            for run, outcome in _ended(going):
                going.pop(run).end()
                if outcome.status == "lost" and tries[run] <= RETRIES:
                    waiting.insert(0, run)
                    continue
                if another_is_at(run, outcome):
                    waiting.append(run)
                    continue
                if outcome.status == "lost":
                    outcome = Outcome("failed", f"its worker was lost {tries[run]} times: {outcome.words}")
                watch.end(run, outcome)
            watch.look()
    except KeyboardInterrupt:
        import ray

        refs = [ref for one in going.values() for ref in one.refs]
        for ref in refs:
            ray.cancel(ref)
        if refs:
            ray.wait(refs, num_returns=len(refs), timeout=SECONDS_TO_STOP)
        raise


class _Going:
    """A run at Ray: a placement group with a bundle for each of its processes, and a task in each bundle."""

    def __init__(self, run: PlannedRun, room: Room, on_gpu: bool) -> None:
        import ray
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        numbers, gpus = range(room.processes), 1 / room.sharing if on_gpu else 0
        self.group = placement_group([{"CPU": 1} | ({"GPU": gpus} if on_gpu else {})] * room.processes)

        def task(function: Any, number: int, *arguments: Any, **options: Any) -> Any:
            where = PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=number)
            options |= {"num_cpus": 1, "num_gpus": gpus, "max_retries": 0, "scheduling_strategy": where}
            return ray.remote(**options)(function).remote(*arguments)

        # Between processes that trained together connections are left, so none of them serves another run.
        once = {"max_calls": 1} if room.processes > 1 else {}
        seats = [task(_seat, number) for number in numbers] if room.processes > 1 else []
        shared = run, "cuda" if on_gpu else "cpu", os.getcwd(), sys.argv
        self.refs = [task(_make, number, *shared, number, *seats, **once) for number in numbers]

    def end(self) -> None:
        """Give back what the run had; a process that is still at it is killed."""
        import ray
        from ray.util.placement_group import remove_placement_group

        remove_placement_group(self.group)
        ray.wait(self.refs, num_returns=len(self.refs), timeout=SECONDS_TO_STOP)


class _Seat(NamedTuple):
    """Where a process is to be: the machine, its address, a free port of it, and the GPUs that are the process's."""

    machine: str
    address: str
    port: int
    gpus: list[str]


def _seat() -> _Seat:
    """The task that looks where a process is to be."""
    import ray

    context = ray.get_runtime_context()
    with socket.socket() as opened:
        opened.bind(("", 0))
        port = opened.getsockname()[1]
    gpus = context.get_accelerator_ids().get("GPU", [])
    return _Seat(context.get_node_id(), ray.util.get_node_ip_address(), port, gpus)


def torchruns(number: int, seats: Sequence[_Seat]) -> dict[str, str]:
    """What ``torchrun`` would set in the environment of a process, and the GPUs of the run on its machine."""
    machine = seats[number].machine
    here = [i for i, seat in enumerate(seats) if seat.machine == machine]
    gpus = [gpu for i in here for gpu in seats[i].gpus]
    return {
        "MASTER_ADDR": seats[0].address, "MASTER_PORT": str(seats[0].port),
        "RANK": str(number), "WORLD_SIZE": str(len(seats)),
        "LOCAL_RANK": str(here.index(number)), "LOCAL_WORLD_SIZE": str(len(here)),
        **({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}),
    }  # fmt: skip


def _make(run: PlannedRun, device: str, folder: str, command: list[str], number: int, *seats: _Seat) -> Outcome:
    """The task: one run, or this process's part of it, in a worker process of Ray's."""
    os.chdir(folder)
    sys.argv = command  # which the record tells
    with environment(**(torchruns(number, seats) if seats else {})):
        return execute(run, device)


def _ended(going: dict[PlannedRun, _Going]) -> list[tuple[PlannedRun, Outcome]]:
    """The runs that have ended, and how: ``lost`` if a process is no more that did not say why."""
    import ray

    refs = [ref for one in going.values() for ref in one.refs]
    if not refs:  # what is left is made elsewhere
        time.sleep(SECONDS_BETWEEN_LOOKS)
        return []
    ray.wait(refs, num_returns=1, timeout=SECONDS_BETWEEN_LOOKS)
    done, _going = ray.wait(refs, num_returns=len(refs), timeout=0)
    found = []
    for run, one in going.items():
        told = [_outcome(ref) for ref in one.refs if ref in done]
        if any(outcome.status != "finished" for outcome in told) and len(told) < len(one.refs):
            later, _going = ray.wait(one.refs, num_returns=len(one.refs), timeout=SECONDS_TO_END)
            told += [_outcome(ref) for ref in later if ref not in done]
        elif len(told) < len(one.refs):
            continue
        lost = (outcome for outcome in told if outcome.status == "lost")
        failed = (outcome for outcome in told if outcome.status == "failed")
        found.append((run, next(lost, next(failed, told[0]))))
    return found


def _outcome(ref: Any) -> Outcome:
    import ray

    try:
        outcome: Outcome = ray.get(ref)
        return outcome
    except ray.exceptions.RayError as error:
        status = "failed" if isinstance(error, ray.exceptions.RayTaskError) else "lost"
        return Outcome(status, f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
