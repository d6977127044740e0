"""How many runs go on at once, and what each of them takes: ``--gpus-per-run`` and ``--jobs``."""

from __future__ import annotations

import os
from dataclasses import dataclass

import joblib
import torch

from mdistiller_icc.errors import UserError
from mdistiller_icc.run import resolve_device


@dataclass(frozen=True)
class Room:
    """What there is room for.

    Attributes:
        at_once: runs.
        processes: of a run, each with a GPU of its own, or on the CPU.
        sharing: runs to a GPU.
    """

    at_once: int
    processes: int = 1
    sharing: int = 1


def on_gpus(count: int, gpus_per_run: float | None, jobs: int | None) -> Room:
    """What ``count`` GPUs have room for; without ``gpus_per_run``, more jobs than GPUs share them.

    >>> on_gpus(8, 4, None), on_gpus(2, 0.25, None)
    (Room(at_once=2, processes=4, sharing=1), Room(at_once=8, processes=1, sharing=4))
    >>> on_gpus(2, None, 4)
    Room(at_once=4, processes=1, sharing=2)

    Raises:
        UserError: there are too few.
    """
    if gpus_per_run is None:
        at_once = jobs or count
        return Room(at_once, sharing=-(-at_once // count))
    processes, sharing = max(1, int(gpus_per_run)), max(1, int(1 / gpus_per_run + 1e-9))
    there = f"{count} GPU{'' if count == 1 else 's'}"
    if processes > count:
        raise UserError(f"--gpus-per-run {gpus_per_run:g}: there {'is' if count == 1 else 'are'} {there}")
    room = count // processes * sharing
    if jobs is not None and jobs > room:
        raise UserError(f"--jobs {jobs}: with --gpus-per-run {gpus_per_run:g} there is room for {room} on {there}")
    return Room(jobs or room, processes, sharing)


def on_cpus(count: int, gpus_per_run: float | None, jobs: int | None) -> Room:
    """What ``count`` cores have room for: without GPUs, a run has as many processes as it would have GPUs.

    >>> on_cpus(8, 2, None), on_cpus(8, None, 3)
    (Room(at_once=4, processes=2, sharing=1), Room(at_once=3, processes=1, sharing=1))

    Raises:
        UserError: a GPU would be shared.
    """
    if gpus_per_run is not None and gpus_per_run < 1:
        raise UserError(f"--gpus-per-run {gpus_per_run:g}: there is no GPU to share; --jobs says how many runs at once")
    processes = int(gpus_per_run or 1)
    return Room(jobs or max(1, count // processes), processes)


@dataclass(frozen=True)
class Place:
    """Where a run of this machine is made.

    Attributes:
        device: as ``--device`` has it.
        gpus: if there are several processes on GPUs, the numbers of these.
        processes: that train together.
    """

    device: str
    gpus: tuple[int, ...] = ()
    processes: int = 1

    @property
    def visible(self) -> str:
        """The place's GPUs as ``CUDA_VISIBLE_DEVICES`` names them."""
        named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        return ",".join(named[i] if any(named) else str(i) for i in self.gpus)


def places(device: str, gpus_per_run: float | None, jobs: int | None, runs: int) -> list[Place]:
    """A place for every run that goes on at the same time on this machine.

    Raises:
        UserError: there is no such device, or not as many as a run takes.
    """
    if device in ("auto", "cuda") and torch.cuda.is_available():
        gpus = range(torch.cuda.device_count())
        room = on_gpus(len(gpus), gpus_per_run, jobs)
        if room.processes > 1:
            starts = range(0, room.at_once * room.processes, room.processes)
            return [Place("cuda", tuple(gpus[i : i + room.processes]), room.processes) for i in starts][:runs]
        return [Place(f"cuda:{gpus[i % len(gpus)]}") for i in range(room.at_once)][:runs]
    kind = str(resolve_device(device))
    if kind == "cpu":
        room = on_cpus(joblib.cpu_count(), gpus_per_run, jobs)
        return [Place(kind, processes=room.processes)] * min(room.at_once, runs)
    return [Place(kind)] * min(on_gpus(1, gpus_per_run, jobs).at_once, runs)
