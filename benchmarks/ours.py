"""Our side of a measurement: what a run trains with, but for its folder and its teacher's file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks import untrained
from mdistiller_icc import data
from mdistiller_icc.engine.kernels import choose_kernels
from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.engine.trainer import Trainer
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure


def configuration(method: str, student: str, teacher: str, options: Sequence[str]) -> Any:
    """A run's configuration, with the ``KEY VALUE`` pairs of ``options``."""
    named = ["DISTILLER.TYPE", method, "DISTILLER.STUDENT", student, "DISTILLER.TEACHER", teacher]
    return configure(None, [*named, "SOLVER.TRAINER", "crd" if method == "CRD" else "base", *options])


def load(cfg: Any) -> data.Loaded:
    """The data set on a GPU where there is one, in the layout that a run of the package's own networks takes."""
    layout = torch.contiguous_format if cfg.SOLVER.CHANNELS_LAST == "never" else torch.channels_last
    return data.load(cfg, 0, device(), memory_format=layout)


def device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def trainer(cfg: Any, dataset: data.Loaded, train: Any, test: Any) -> Trainer:
    """The trainer of what ``cfg`` names, on the batches of ``train`` and ``test``."""
    host = register(verbose=False).host
    distillers, models = host.distiller_dict, host.cifar_model_dict
    method = untrained.distiller(distillers, models, cfg, dataset.num_classes, dataset.num_data)
    made = Trainer("benchmark", method.to(device()), train, test, cfg, progress=Silent())
    choose_kernels(made.precision, made.device)
    return made
