"""ImageNet, or any set of large images in class folders."""

from __future__ import annotations

from pathlib import Path

from .augment import Augmentation
from .dataset import DataSet
from .folders import find, list_training, list_tree, not_found, tell_untested
from .source import Source, Split


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
    classes, train = list_training(place / "train")
    test = list_tree(place / "val", classes)
    tell_untested(place / "val", test[1], classes)
    return Source(classes, Split(*train), Split(*test))


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
