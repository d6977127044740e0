"""The record of a run, ``record.json``: what was trained, under which protocol, and how well it does."""

from __future__ import annotations

import datetime
import math
import platform
from typing import Any

import numpy as np
import torch
import yaml
from yacs.config import CfgNode

from mdistiller_icc import __version__
from mdistiller_icc.engine.accuracies import accuracies, best

SCHEMA = 1
DOT_TRAINERS = ("dot", "crd_dot")
"""The trainers that read ``SOLVER.DOT``."""


def begin(
    cfg: CfgNode, *, name: str, role: str, seed: int, precision: str, dataset: Any, host: Any, student: str,
    teacher: dict[str, Any] | None, device: torch.device,
) -> dict[str, Any]:  # fmt: skip
    """The record of a run that has yet to train its first epoch.

    Args:
        role: ``teacher`` or ``student``.
        precision: as resolved, never ``auto``.
        dataset: the data set's bundle.
        student: architecture of the network trained.
        teacher: who it learns from, None if nobody.
    """
    solver = cfg.SOLVER
    node = cfg.get(cfg.DISTILLER.TYPE)
    method_config = yaml.safe_load(node.dump()) if isinstance(node, CfgNode) else {}
    if solver.TRAINER in DOT_TRAINERS:
        method_config["DOT"] = {"DELTA": solver.DOT.DELTA}
    protocol = {
        "epochs": solver.EPOCHS,
        "batch_size": solver.BATCH_SIZE,
        "optimizer": solver.TYPE,
        "trainer": solver.TRAINER,
        "lr": solver.LR,
        "momentum": solver.MOMENTUM,
        "weight_decay": solver.WEIGHT_DECAY,
        "schedule": solver.SCHEDULE,
        "lr_decay_stages": list(solver.LR_DECAY_STAGES) if solver.SCHEDULE == "step" else None,
        "lr_decay_rate": solver.LR_DECAY_RATE if solver.SCHEDULE == "step" else None,
        "augmentation": dataset.augmentation,
        "precision": precision,
        "fraction": cfg.DATASET.FRACTION,
        "holdout": cfg.DATASET.HOLDOUT,
    }
    switches = {"compile": solver.COMPILE, "upstream": cfg.COMPAT.UPSTREAM}
    protocol |= {name: True for name, on in switches.items() if on}
    return {
        "schema": SCHEMA,
        "status": "running",
        "project": cfg.EXPERIMENT.PROJECT,
        "name": name,
        "dataset": dataset.name,
        "num_classes": dataset.num_classes,
        "num_train": dataset.num_data,
        "num_test": dataset.test.num_data,
        "role": role,
        "method": cfg.DISTILLER.TYPE,
        "teacher": teacher,
        "student": {"architecture": student},
        "seed": seed,
        "protocol": protocol,
        "method_config": method_config,
        "device": device_name(device),
        "host": {"name": host.name, "version": host.version},
        "versions": {
            "mdistiller_icc": __version__,
            "torch": str(torch.__version__),  # a class of torch's own, which a checkpoint must not hold
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "started": now(),
        **progress([]),
        "finished": None,
        "error": None,
    }


def progress(history: list[dict[str, Any]]) -> dict[str, Any]:
    """What a record says of the epochs trained so far."""
    tested = [epoch for epoch in history if epoch.get("test_top1") is not None]
    training = [epoch["images_per_second"] for epoch in history]
    return {
        "epoch": len(history),
        "best_epoch": best(tested, lambda epoch: epoch["test_top1"])["epoch"] if tested else None,
        "top1": accuracies(history, "top1"),
        "top5": accuracies(history, "top5"),
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
