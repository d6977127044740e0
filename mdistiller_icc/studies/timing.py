"""How long runs take of which no past record tells: a few steps of each kind are taken and timed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from mdistiller_icc import data
from mdistiller_icc.data.downloads import offline
from mdistiller_icc.distillers import base
from mdistiller_icc.engine.generators import seed_everything
from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.run import check
from mdistiller_icc.studies.plan import PlannedRun
from mdistiller_icc.teachers import resolve, store

STEPS, SECONDS = 5, 3.0
"""The most that is taken of one kind."""
SECONDS_IN_ALL = 60.0
"""After which no further kind is begun."""


def timed(runs: Sequence[PlannedRun], device: str, threads: int) -> dict[PlannedRun, float]:
    """Seconds that runs take in all; one run stands for all between the same networks, as with past records.

    Its networks have weights that nobody trained; nothing is written.

    Args:
        device: of each run.
        threads: of each run's process.

    Raises:
        UserError: their data set is not there; none is downloaded.
    """
    before, begun = torch.get_num_threads(), time.monotonic()
    torch.set_num_threads(threads)
    speeds: dict[tuple[str, ...], tuple[float, float, int]] = {}
    try:
        for run in runs:
            if (
                _networks(run) not in speeds
                and time.monotonic() - begun < SECONDS_IN_ALL
                and not run.cfg.DATASET.IMAGES
            ):
                speeds[_networks(run)] = _speed(run, device)
    finally:
        torch.set_num_threads(before)
    found = {}
    for run in runs:
        if _networks(run) in speeds:
            per_image, per_evaluation, images = speeds[_networks(run)]
            solver = run.cfg.SOLVER
            evaluations = -(-solver.EPOCHS // solver.EVAL_EVERY)
            found[run] = per_image * images * solver.EPOCHS + per_evaluation * evaluations
    return found


def _networks(run: PlannedRun) -> tuple[str, ...]:
    node = run.cfg.DISTILLER
    teacher = "" if node.TYPE in store.KINDS else run.teacher.cfg.DISTILLER.STUDENT if run.teacher else node.TEACHER
    return run.cfg.DATASET.TYPE, node.STUDENT, teacher


def _speed(run: PlannedRun, device: str) -> tuple[float, float, int]:
    """Seconds per training image and per evaluation, and the number of training images."""
    cfg = run.cfg.clone()
    cfg.defrost()
    cfg.SOLVER.LR = cfg.SOLVER.LR_MIN = 0.0  # nothing can diverge
    cfg.SOLVER.EPOCHS, cfg.SOLVER.EVAL_EVERY = max(2, cfg.SOLVER.EPOCHS), 2
    found = check(cfg, run.role, device=device)
    seed_everything(found.seed)
    with offline():
        dataset = data.load(cfg, found.seed, found.device, memory_format=found.layout, strong=found.strong)
    networks = [found.student]
    if found.teacher_kind is None:
        networks.append(resolve.architecture(found.models, cfg.DISTILLER.TEACHER, "DISTILLER.TEACHER", dataset.name))
    student, *teacher = (resolve.build(found.models, name, cfg, dataset.num_classes) for name in networks)
    made = base.build(found.distiller, student, teacher[0] if teacher else None, cfg, dataset.num_data)
    trainer = found.trainer(found.name, made.to(found.device), dataset.train, dataset.test, cfg, progress=Silent())
    trainer.train_loader = _Some(dataset.train)
    trainer.train_epoch(1)  # the first steps are slow
    per_image = 1 / trainer.train_epoch(1)["images_per_second"]
    some = _Some(dataset.test)
    begun = time.perf_counter()
    trainer.evaluate(some)
    return per_image, (time.perf_counter() - begun) / some.taken * len(dataset.test), dataset.num_data


class _Some:
    """A few batches of a loader."""

    def __init__(self, loader: Any) -> None:
        self.loader, self.taken = loader, 0

    def __len__(self) -> int:
        return min(STEPS, len(self.loader))

    def set_epoch(self, epoch: int) -> None:
        """Hand it on."""
        self.loader.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        begun, self.taken = time.monotonic(), 0
        for batch in self.loader:
            self.taken += 1
            yield batch
            if self.taken == len(self) or time.monotonic() - begun > SECONDS:
                return
