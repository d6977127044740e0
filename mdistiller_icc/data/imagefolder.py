"""Anybody's images in class folders: any number of classes, any size."""

from __future__ import annotations

from pathlib import Path

from .augment import Augmentation
from .dataset import DataSet
from .folders import find, not_found, read_tree, test_folder
from .source import Source

TESTS = ("test", "val", "valid")


def read(root: Path) -> Source:
    """List ``train/<class>/*`` and the first of ``test/``, ``val/`` and ``valid/`` that has labelled images.

    They are looked for in ``root/imagefolder`` and ``root``.

    Raises:
        UserError: they are not there, or not in class folders.
    """
    places = (root / "imagefolder", root)
    place = find(places, "train")
    test = None if place is None else test_folder(place, TESTS)
    if place is None or test is None:
        layouts = "train/<class>/ beside test/<class>/, val/<class>/ or valid/<class>/"
        raise not_found("A tree of images", places, layouts, "say with DATASET.ROOT where it is")
    return read_tree(place, test)


IMAGEFOLDER = DataSet(
    name="imagefolder",
    num_classes=None,
    image_size=224,
    mean=None,
    std=None,
    augmentation=Augmentation(resized_crop=True, flip=True),
    test_resize=256,
    read=read,
    models="imagenet_model_dict",
    known_to="us",
)
