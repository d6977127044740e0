"""CIFAR-100: 50,000 training and 10,000 test images of 100 classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .augment import Augmentation
from .cifar import SIZE, layout
from .dataset import DataSet


def _open(root: Path, train: bool, download: bool) -> Any:
    from torchvision import datasets  # a second to import, which a folder tree need not spend

    return datasets.CIFAR100(root, train=train, download=download)


read = layout("CIFAR-100", "cifar100", "cifar-100-python", "cifar-100-python.tar.gz", _open).read

CIFAR100 = DataSet(
    name="cifar100",
    num_classes=100,
    image_size=SIZE,
    mean=(0.5071, 0.4867, 0.4408),
    std=(0.2675, 0.2565, 0.2761),
    augmentation=Augmentation(padding=4, flip=True),
    read=read,
    models="cifar_model_dict",
    known_to="mdistiller",
)
