"""CIFAR-100, from torchvision's files or from a folder tree of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mdistiller_icc.errors import UserError

from .cache import decode
from .folders import find, list_classes, list_tree
from .source import Source, Split

SIZE = 32
PICKLES = "cifar-100-python"


def read(root: Path) -> Source:
    """Read CIFAR-100 from ``root/cifar100`` or ``root``: torchvision's files, else folders, else a download.

    Folders are ``train/<class>/*`` and ``test/<class>/*`` (or ``val/``); sorted class names are the label order.

    Raises:
        UserError: nothing is there and the download failed, or what is there is damaged.
    """
    places = (root / "cifar100", root)
    if (place := find(places, PICKLES)) is not None:
        return _read_pickles(place)
    for test in ("test", "val"):
        if (place := find(places, "train", test)) is not None:
            return _read_folders(place, test)
    return _read_pickles(root, download=True)


def _read_folders(place: Path, test: str) -> Source:
    classes = list_classes(place / "train")
    splits = []
    for name in ("train", test):
        files, labels = list_tree(place / name, classes)
        splits.append(Split(decode(files, SIZE, place), labels))
    return Source(classes, *splits)


def _read_pickles(place: Path, download: bool = False) -> Source:
    from torchvision.datasets import CIFAR100

    try:
        train, test = (CIFAR100(place, train=train, download=download) for train in (True, False))
    except Exception as error:  # torchvision checks a digest, then unpickles: what fails there has no common type
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if not download:
            damaged = place / PICKLES
            raise UserError(f"{damaged}: damaged ({reason}); delete it to have it downloaded again") from error
        raise UserError(
            f"CIFAR-100 not found: looked in {place / 'cifar100'} and {place} for {PICKLES}/ or train/<class>/ beside "
            f"test/<class>/, and the download failed ({reason}); unpack cifar-100-python.tar.gz from "
            "https://www.cs.toronto.edu/~kriz/cifar.html there, or say with DATASET.ROOT where it is"
        ) from error
    return Source(tuple(train.classes), _split(train), _split(test))


def _split(part: Any) -> Split:
    images = np.ascontiguousarray(part.data.transpose(0, 3, 1, 2))
    return Split(images, np.asarray(part.targets, dtype=np.int64))
