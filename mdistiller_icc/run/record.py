"""The record of a run, ``record.json``: what was trained, under which protocol, and how well it does."""

from __future__ import annotations

import contextlib
import datetime
import math
import platform
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import yaml
from torch import nn
from yacs.config import CfgNode

from mdistiller_icc import ranks
from mdistiller_icc.data import data_set
from mdistiller_icc.engine.divergence import Diverged
from mdistiller_icc.engine.kernels import choose_kernels
from mdistiller_icc.engine.trainer import Trainer
from mdistiller_icc.errors import UserError
from mdistiller_icc.provenance import command_line, commit
from mdistiller_icc.run.accuracies import accuracies, best
from mdistiller_icc.run.resolved import Resolved, chosen_settings
from mdistiller_icc.teachers import checkpoint, resolve
from mdistiller_icc.teachers.trained import UNTOLD
from mdistiller_icc.teachers.trained import protocol as configured
from mdistiller_icc.version import __version__

SCHEMA = 1


class Record:
    """The record of a run that its trainer makes, written to the run's folder after each epoch and at its end.

    Attributes:
        told: what it says.
    """

    metrics: ClassVar[tuple[str, ...]] = ("top1", "top5")
    """The figures that runs are measured by; the first tells which epoch is the best."""

    def __init__(
        self,
        run: Resolved,
        dataset: Any,
        teacher: dict[str, Any] | None,
        trainer: Trainer,
        start: dict[str, Any] | None = None,
    ) -> None:
        self.run, self.trainer, self.classes, self.loader = run, trainer, dataset.classes, dataset.loader
        self.told = begin(run, dataset, teacher) | progress([], self.metrics)
        if ranks.world() > 1 and trainer.least_images > 1:  # batch norms see their own process's share alone
            self.told["protocol"]["batch_norm_images"] = run.cfg.SOLVER.BATCH_SIZE // ranks.world()
        self._start(start)
        self.before: dict[str, Any] = {}
        self._keep()
        trainer.on_epoch = lambda: self.write("running")
        trainer.on_resume = self.go_on

    def _keep(self) -> None:
        """Have the checkpoints hold what `go_on` wants to know."""
        told = self.told
        self.trainer.kept = {
            "started": told["started"],
            "precision": told["protocol"]["precision"],
            "teacher": told["teacher"]["digest"] if told["teacher"] else None,
            "start": told["student"].get("start"),
            "tree": told["protocol"].get("tree"),
            "loader": self.loader,
        }

    def _start(self, start: dict[str, Any] | None) -> None:
        """Tell of the weights that the network started from; runs that did so are compared with their like alone."""
        if start is not None:
            self.told["student"]["start"] = start
            self.told["protocol"]["start"] = start["digest"]

    def go_on(self, kept: dict[str, Any]) -> None:
        """The run in the folder is continued: in the precision that it began in, from the teacher that it began with.

        Args:
            kept: what its checkpoint holds.

        Raises:
            UserError: its teacher's checkpoint, or the tree of its images, is another one now.
        """
        self.before, now = self.trainer.folder.record(), self.told["teacher"]
        if kept["teacher"] and now and kept["teacher"] != now["digest"]:
            folder = self.trainer.folder.path
            raise UserError(f"{folder}: cannot be resumed: {now['path']} is no longer the teacher that it began with")
        if (tree := self.told["protocol"].get("tree")) != (kept.get("tree") or tree):
            folder, node = self.trainer.folder.path, self.run.cfg.DATASET
            given = "these" if data_set(node.TYPE).loaded else f"those in {node.ROOT}"
            raise UserError(f"{folder}: cannot be resumed: it was begun on other images than {given}")
        if self.loader != (before := kept.get("loader") or self.loader):
            what = f"the loader was {before} and is {self.loader} now, by the memory that is free (DATASET.LOADER auto)"
            self.trainer.progress.note(f"{what}: from here on the images are augmented by other random numbers")
        self.told["started"] = kept["started"] or self.told["started"]
        self._start(kept.get("start"))
        # What `auto` was where the run began, it stays elsewhere.
        self.trainer.precision = kept["precision"] or self.run.precision
        self.told["protocol"]["precision"] = self.trainer.precision
        choose_kernels(self.trainer.precision, self.run.device)
        self._keep()

    def publish(self, model: nn.Module) -> None:
        """Put the trained teacher into the store, with what is told of it."""
        self.told.update(progress(self.trainer.history, self.metrics))
        kind, seed = self.run.teacher_kind or "", self.run.cfg.EXPERIMENT.SEED
        published = resolve.publish(model, self.classes, kind, seed, self.told)
        self.told["digest"] = checkpoint.digest(published)  # by which its students' records name it

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Write how the run ended, however it did."""
        try:
            yield
        except BaseException as error:
            mistake = isinstance(error, UserError) and not isinstance(error, Diverged)
            if self.trainer.history or not mistake:
                with contextlib.suppress(OSError):  # it may be why the run ended
                    self.write(*_ending(error))
            raise
        self.write("finished")

    def write(self, status: str, error: str | None = None) -> None:
        """Write ``record.json``, unless the folder holds an earlier run again."""
        history = self.trainer.history
        ended = now() if status == "finished" else None
        if ended and self.before.get("status") == status and self.before.get("epoch") == len(history):
            ended = str(self.before.get("finished"))  # there was nothing left to train
        self.told.update(progress(history, self.metrics), status=status, finished=ended, error=error)
        if not self.trainer.folder.restored:
            self.trainer.folder.write_record(self.told)


def _ending(error: BaseException) -> tuple[str, str | None]:
    """The status of a run that an exception ended, and the error that its record tells."""
    if isinstance(error, Diverged):
        return "diverged", str(error)
    if isinstance(error, Exception):
        return "failed", str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return "interrupted", None


def begin(run: Resolved, dataset: Any, teacher: dict[str, Any] | None) -> dict[str, Any]:
    """The record of a run that has yet to train its first epoch.

    Args:
        dataset: the loaders and what they hold.
        teacher: who it learns from, None if nobody.
    """
    cfg = run.cfg
    method_config = _settings_of(cfg, cfg.DISTILLER.TYPE)
    if cfg.DISTILLER.LOGIT_STAND:
        method_config["LOGIT_STAND"] = True
    method_config |= run.trainer.settings(cfg)
    protocol = {
        **{key: value for key, value in configured(cfg).items() if key not in UNTOLD or value != UNTOLD[key]},
        "augmentation": dataset.augmentation,
        "views": 1 if dataset.strong is None else 2,
        "precision": run.precision,
    }
    if dataset.strong is not None:
        protocol["strong_view"] = dataset.strong
    if dataset.tree is not None:
        protocol["tree"] = dataset.tree
    of_pair = chosen_settings(cfg)
    return {
        "schema": SCHEMA,
        "status": "running",
        "project": cfg.EXPERIMENT.PROJECT,
        "name": run.name,
        "dataset": dataset.name,
        "num_classes": dataset.num_classes,
        "num_train": dataset.num_data,
        "num_test": dataset.test.num_data,
        "role": run.role,
        "method": cfg.DISTILLER.TYPE,
        "teacher": teacher,
        "student": {"architecture": run.student},
        "seed": run.seed,
        "protocol": protocol,
        "method_config": method_config,
        **({"pair_settings": of_pair.record()} if of_pair else {}),
        "device": device_name(run.device),
        "processes": ranks.world(),
        "host": {"name": run.host.name, "version": run.host.version},
        "versions": {
            "mdistiller_icc": __version__,
            "torch": str(torch.__version__),  # a class of torch's own, which a checkpoint must not hold
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "command": command_line(),
        "commit": commit(),
        "started": now(),
        "epoch": 0,
        "finished": None,
        "error": None,
    }


def _settings_of(cfg: CfgNode, method: str) -> dict[str, Any]:
    """A method's settings; of a sum, those of each method in it."""
    node = cfg.get(method)
    if node is None and "+" in method:
        return {part: _settings_of(cfg, part) for part in method.split("+")}
    settings: dict[str, Any] = yaml.safe_load(node.dump()) if isinstance(node, CfgNode) else {}
    return settings


def progress(history: list[dict[str, Any]], metrics: Sequence[str]) -> dict[str, Any]:
    """What a record says of the epochs trained so far, by figures of which the first tells the best epoch."""
    first = metrics[0]
    tested = [epoch for epoch in history if epoch.get(f"test_{first}") is not None]
    training = [epoch["images_per_second"] for epoch in history]
    skipped = [epoch["skipped_steps"] for epoch in history if "skipped_steps" in epoch]
    return {
        "epoch": len(history),
        **({"skipped_steps": sum(skipped)} if skipped else {}),
        "best_epoch": best(tested, lambda epoch: epoch[f"test_{first}"])["epoch"] if tested else None,
        **{metric: accuracies(history, metric, first) for metric in metrics},
        "seconds": math.fsum(epoch["seconds"] for epoch in history),
        # the harmonic mean: all images over all training time
        "images_per_second": len(training) / math.fsum(1 / speed for speed in training) if training else None,
    }


def device_name(device: torch.device) -> str:
    """``cpu (x86_64, 2 threads)`` or ``cuda (NVIDIA H200)``."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
