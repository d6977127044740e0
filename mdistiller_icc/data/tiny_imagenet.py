"""Tiny-ImageNet, in its original layout or with its validation images sorted into class folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mdistiller_icc.errors import UserError, nearest

from .augment import Augmentation
from .cache import decode
from .dataset import DataSet
from .folders import (
    entries,
    files_of,
    find,
    list_training,
    list_tree,
    not_found,
    tell_passed_over,
    tell_untested,
)
from .source import Files, Source, Split

SIZE = 64
ANNOTATIONS = "val_annotations.txt"


def read(root: Path) -> Source:
    """Read Tiny-ImageNet from ``root/tiny-imagenet-200`` or ``root``.

    Training images are ``train/<wnid>/*`` or ``train/<wnid>/images/*``; validation images either lie together in
    ``val/images/`` with their classes in ``val/val_annotations.txt``, or in folders like the training images.

    Raises:
        UserError: nothing is there, or a validation image has no class.
    """
    places = (root / "tiny-imagenet-200", root)
    place = find(places, "train", "val")
    if place is None:
        advice = "unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip there, or say with DATASET.ROOT where it is"
        raise not_found("Tiny-ImageNet", places, "train/<wnid>/ beside val/", advice)
    classes, (train, train_labels) = list_training(place / "train")
    val = place / "val"
    together = entries(val / "images") if (val / "images").is_dir() else None
    if together is not None and together.images:
        tell_passed_over(val / "images", together.others)
        test, test_labels = _annotated(val, together.images, classes)
    else:
        test, test_labels = list_tree(val, classes)
    tell_untested(val, test_labels, classes)
    return Source(
        classes,
        Split(decode(train, SIZE, place), train_labels),
        Split(decode(test, SIZE, place), test_labels),
    )


def _annotated(val: Path, images: list[str], classes: tuple[str, ...]) -> tuple[Files, np.ndarray]:
    """The images of ``val/images`` with the labels that the annotations give them."""
    file = val / ANNOTATIONS
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read, so the images of {val / 'images'} have no classes") from error
    class_of = {fields[0]: fields[1] for line in lines if len(fields := line.split("\t")) > 1}
    label_of = {name: label for label, name in enumerate(classes)}
    labels = []
    for image in images:
        if image not in class_of:
            raise UserError(f"{file}: no line for {image}")
        name = class_of[image]
        if name not in label_of:
            raise UserError(f"{file}: class '{name}' of {image} has no training images{nearest(name, classes)}")
        labels.append(label_of[name])
    return files_of(val, [f"images/{image}" for image in images]), np.asarray(labels, dtype=np.int64)


TINY_IMAGENET = DataSet(
    name="tiny_imagenet",
    num_classes=200,
    image_size=SIZE,
    mean=(0.4802, 0.4481, 0.3975),
    std=(0.2302, 0.2265, 0.2262),
    augmentation=Augmentation(degrees=20.0, flip=True),
    read=read,
    models="tiny_imagenet_model_dict",
    known_to="mdistiller",
)
