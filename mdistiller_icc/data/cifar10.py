"""CIFAR-10: 50,000 training and 10,000 test images of 10 classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .augment import Augmentation
from .cifar import SIZE, layout
from .dataset import DataSet


def _open(root: Path, train: bool, download: bool) -> Any:
    from torchvision import datasets  # a second to import, which a folder tree need not spend

    return datasets.CIFAR10(root, train=train, download=download)


read = layout("CIFAR-10", "cifar10", "cifar-10-batches-py", "cifar-10-python.tar.gz", _open).read

CIFAR10 = DataSet(
    name="cifar10",
    num_classes=10,
    image_size=SIZE,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    augmentation=Augmentation(padding=4, flip=True),
    read=read,
    models="cifar_model_dict",
)
