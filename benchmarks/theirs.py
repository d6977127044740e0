"""mdistiller's side of a measurement: its own trainer, loaders, networks and methods, as they are."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import untrained


def pixels(count: int) -> np.ndarray:
    """Images (N, 32, 32, 3) as CIFAR-100's are stored, of random pixels: no timing depends on their content."""
    return np.random.default_rng(0).integers(256, size=(count, 32, 32, 3), dtype=np.uint8)


def _read(self: Any, root: str, train: bool = True, transform: Any = None, **_: Any) -> None:
    self.data = pixels(50_000 if train else 10_000)
    self.targets = (np.arange(len(self.data)) % 100).tolist()
    self.transform, self.target_transform = transform, None


def _as_it_is(self: Any, *_: Any, **__: Any) -> Any:
    return self


def trainer(method: str, student: str, teacher: str) -> tuple[type, nn.Module, Any, Any, Any]:
    """What its ``tools/train.py`` trains with: the trainer's class, distiller, both loaders and configuration."""
    from torchvision.datasets import CIFAR100  # type: ignore[import-untyped]

    CIFAR100.__init__, CIFAR100.__len__ = _read, lambda self: len(self.data)
    torch.backends.cudnn.benchmark = True
    if not torch.cuda.is_available():
        torch.Tensor.cuda = nn.Module.cuda = _as_it_is  # type: ignore[assignment,method-assign]

    from mdistiller.dataset import get_dataset  # type: ignore[import-not-found]
    from mdistiller.distillers import distiller_dict  # type: ignore[import-not-found]
    from mdistiller.engine import trainer_dict  # type: ignore[import-not-found]
    from mdistiller.engine.cfg import CFG as cfg  # type: ignore[import-not-found]
    from mdistiller.models import cifar_model_dict  # type: ignore[import-not-found]

    cfg.DISTILLER.TYPE, cfg.DISTILLER.STUDENT, cfg.DISTILLER.TEACHER = method, student, teacher
    cfg.SOLVER.TRAINER = "crd" if method == "CRD" else "base"
    cfg.LOG.WANDB, cfg.LOG.PREFIX = False, tempfile.mkdtemp()
    train, test, num_data, num_classes = get_dataset(cfg)
    made = untrained.distiller(distiller_dict, cifar_model_dict, cfg, num_classes, num_data)
    return trainer_dict[cfg.SOLVER.TRAINER], nn.DataParallel(made.cuda()), train, test, cfg
