"""STL-10: 5,000 training and 8,000 test images of 10 classes; its 100,000 without labels are not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .augment import Augmentation
from .dataset import DataSet
from .downloads import Layout
from .source import Split

SIZE = 96
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def _open(root: Path, train: bool, download: bool) -> Any:
    from torchvision import datasets  # a second to import, which a folder tree need not spend

    class Labelled(datasets.STL10):
        """Torchvision's, content without ``unlabeled_X.bin``, and with names where ``class_names.txt`` is not there."""

        train_list = [entry for entry in datasets.STL10.train_list if entry[0] != "unlabeled_X.bin"]
        classes = CLASSES

    return Labelled(root, split="train" if train else "test", download=download)


def _split(part: Any) -> Split:
    return Split(np.ascontiguousarray(part.data), part.labels.astype(np.int64))


_SOURCE = "http://ai.stanford.edu/~acoates/stl10"
read = Layout("STL-10", "stl10", "stl10_binary", "stl10_binary.tar.gz", _SOURCE, SIZE, _open, _split).read

STL10 = DataSet(
    name="stl10",
    num_classes=10,
    image_size=SIZE,
    mean=(0.4467, 0.4398, 0.4066),
    std=(0.2603, 0.2566, 0.2713),
    augmentation=Augmentation(padding=12, flip=True),
    read=read,
    models="imagenet_model_dict",
)
