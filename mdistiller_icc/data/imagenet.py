"""ImageNet: 1.28 million training and 50,000 validation images of 1,000 classes."""

from __future__ import annotations

from pathlib import Path

from .augment import Augmentation
from .dataset import DataSet
from .folders import find, not_found, read_tree
from .source import Source


def read(root: Path) -> Source:
    """List ImageNet's ``train/<wnid>/*`` and ``val/<wnid>/*`` in ``root/imagenet`` or ``root``.

    Raises:
        UserError: nothing is there, or the validation images are not in class folders.
    """
    places = (root / "imagenet", root)
    place = find(places, "train", "val")
    if place is None:
        advice = "get ILSVRC 2012 from https://www.image-net.org, or say with DATASET.ROOT where it is"
        raise not_found("ImageNet", places, "train/<wnid>/ beside val/<wnid>/", advice)
    return read_tree(place, "val")


IMAGENET = DataSet(
    name="imagenet",
    num_classes=1000,
    image_size=224,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    augmentation=Augmentation(resized_crop=True, flip=True),
    test_resize=256,
    read=read,
    models="imagenet_model_dict",
    known_to="mdistiller",
)
