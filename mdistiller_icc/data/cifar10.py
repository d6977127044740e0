"""CIFAR-10: 50,000 training and 10,000 test images of 10 classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mdistiller_icc.errors import UserError

from .augment import Augmentation
from .cifar import SIZE, layout
from .dataset import DataSet
from .folders import find
from .source import Source, Split

BINARY = "cifar-10-batches-bin"
BATCH = 10_000
"""Images of a file in it, each a byte that is its label and 3,072 that are its pixels."""


def _open(root: Path, train: bool, download: bool) -> Any:
    from torchvision import datasets  # a second to import, which a folder tree need not spend

    return datasets.CIFAR10(root, train=train, download=download)


_layout = layout("CIFAR-10", "cifar10", "cifar-10-batches-py", "cifar-10-python.tar.gz", _open)


def read(root: Path) -> Source:
    """Read it as `Layout.read` does, or from the files of its binary version, which torchvision does not know.

    Raises:
        UserError: it is not there and cannot be downloaded, or what is there is damaged.
    """
    places = (root / _layout.folder, root)
    place = find(places, BINARY)
    if place is None or find(places, _layout.published) is not None:
        return _layout.read(root)
    folder = place / BINARY
    try:
        classes = tuple((folder / "batches.meta.txt").read_text(encoding="utf-8").split())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise UserError(f"{folder / 'batches.meta.txt'}: {reason}; it names the classes") from None
    train, test = [f"data_batch_{i}.bin" for i in range(1, 6)], ["test_batch.bin"]
    return Source(classes, _binary(folder, train, len(classes)), _binary(folder, test, len(classes)))


def _binary(folder: Path, names: list[str], classes: int) -> Split:
    parts = []
    for name in names:
        try:
            part = np.fromfile(folder / name, dtype=np.uint8)
        except OSError as error:
            raise UserError(f"{folder / name}: {error.strerror}") from None
        if len(part) != BATCH * (1 + 3 * SIZE**2) or (part[:: 1 + 3 * SIZE**2] >= classes).any():
            raise UserError(f"{folder / name}: damaged; it should hold {BATCH:,} images of {classes} classes")
        parts.append(part.reshape(BATCH, -1))
    rows = np.concatenate(parts)
    return Split(rows[:, 1:].reshape(-1, 3, SIZE, SIZE).copy(), rows[:, 0].astype(np.int64))


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
