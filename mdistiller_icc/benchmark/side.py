"""One side of a comparison, in a process of its own: a trainer's own epoch over a limited loader, timed."""

from __future__ import annotations

import itertools
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from mdistiller_icc.benchmark import images
from mdistiller_icc.benchmark.device import default_device, device_for, wait_for
from mdistiller_icc.data.source import Source

WARM_UP = {"cpu": 3, "cuda": 20}
"""Steps before those that count; on a GPU algorithms are tried and graphs captured in them."""
LEAST = 4


class Limited:
    """A loader that stops once enough of an epoch was timed.

    Args:
        loader: a trainer's.
        seconds: how long to go on after the warm-up.
        device: where the trainer's steps run.
    """

    def __init__(self, loader: Any, seconds: float, device: torch.device) -> None:
        self.loader, self.seconds, self.device = loader, seconds, device
        self.batch_size = loader.batch_size
        self.images_per_second = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        begun, warm_up = 0.0, WARM_UP[self.device.type]
        # A fast device is through the epoch before the time is up.
        for step, batch in enumerate(itertools.chain.from_iterable(itertools.repeat(self.loader))):
            done = step - warm_up
            if done == 0:
                wait_for(self.device)
                begun = time.perf_counter()
            if done >= LEAST and time.perf_counter() - begun >= self.seconds:
                wait_for(self.device)  # it may lag behind by many steps
                self.images_per_second = done * self.batch_size / (time.perf_counter() - begun)
                return
            yield batch


def ours(task: dict[str, Any], source: Source) -> Limited:
    """An epoch of our trainer, as `mdistiller_icc.run` sets it up."""
    from mdistiller_icc import data
    from mdistiller_icc.benchmark.settings import distiller, layout, settings
    from mdistiller_icc.engine.progress import Silent
    from mdistiller_icc.engine.trainer import trainer_dict

    images.install(source)
    cfg = settings(task["method"], task["student"], task["teacher"], *task["options"])
    device = device_for(cfg)
    dataset = data.load(cfg, 0, device, memory_format=layout(cfg))
    method = distiller(cfg, dataset.num_data, device)
    train = Limited(dataset.train, task["seconds"], device)
    test = [next(iter(dataset.test))]
    trainer_class = trainer_dict.get(cfg.SOLVER.TRAINER, trainer_dict["base"])
    trainer_class("benchmark", method, train, test, cfg, progress=Silent()).train_epoch(1)
    return train


def theirs(task: dict[str, Any], source: Source) -> Limited:
    """An epoch of mdistiller's own trainer with its own loaders and distillers, unchanged but for the images."""
    from torchvision.datasets import CIFAR100

    def read(self: Any, root: str, train: bool = True, transform: Any = None, **_: Any) -> None:
        split = source.train if train else source.test
        self.data = np.ascontiguousarray(split.images.transpose(0, 2, 3, 1))
        self.targets = split.labels.tolist()
        self.transform, self.target_transform = transform, None

    CIFAR100.__init__ = read
    CIFAR100.__len__ = lambda self: len(self.data)
    device = default_device()
    torch.backends.cudnn.benchmark = True  # as its tools/train.py has it
    if device.type == "cpu":
        torch.Tensor.cuda = lambda self, *_, **__: self
        nn.Module.cuda = lambda self, *_, **__: self

    from mdistiller.dataset import get_dataset
    from mdistiller.distillers import distiller_dict
    from mdistiller.engine import trainer_dict
    from mdistiller.engine.cfg import CFG
    from mdistiller.models import cifar_model_dict

    method = task["method"]
    cfg = CFG.clone()
    cfg.DISTILLER.TYPE, cfg.DISTILLER.STUDENT, cfg.DISTILLER.TEACHER = method, task["student"], task["teacher"]
    cfg.SOLVER.TRAINER = "crd" if method == "CRD" else "base"
    cfg.LOG.WANDB, cfg.LOG.PREFIX = False, tempfile.mkdtemp()
    torch.manual_seed(0)
    student, teacher = (cifar_model_dict[task[role]][0](num_classes=images.CLASSES) for role in ("student", "teacher"))
    if method == "CRD":  # the file's defaults fit one pair only
        cfg.CRD.FEAT.STUDENT_DIM, cfg.CRD.FEAT.TEACHER_DIM = student.fc.in_features, teacher.fc.in_features
    loader, test_loader, num_data, _classes = get_dataset(cfg)
    arguments = [student] if method == "NONE" else [student, teacher, cfg, *([num_data] if method == "CRD" else [])]
    distiller = nn.DataParallel(distiller_dict[method](*arguments).cuda())
    train = Limited(loader, task["seconds"], device)
    test = [next(iter(test_loader))]
    trainer_dict[cfg.SOLVER.TRAINER]("benchmark", distiller, train, test, cfg).train_epoch(1)
    return train


def main() -> None:
    """Read the task from the command line and write what was measured to the file it names."""
    task = json.loads(sys.argv[1])
    torch.set_num_threads(task["threads"])
    os.chdir(tempfile.mkdtemp())
    if task["mdistiller"]:
        sys.path.insert(0, task["mdistiller"])
    train = {"ours": ours, "theirs": theirs}[task["side"]](task, images.source(task["root"]))
    # Linux counts in KiB; worker processes are the largest one's.
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    told = {"images_per_second": train.images_per_second, "peak_gib": peaks[0] / 2**20, "worker_gib": peaks[1] / 2**20}
    if torch.cuda.is_available():
        told["device_gib"] = torch.cuda.max_memory_allocated() / 2**30
    with open(task["answer"], "w", encoding="utf-8") as file:
        json.dump(told, file)


if __name__ == "__main__":
    main()
