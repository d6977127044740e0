"""What there is to say about a data set, in one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .augment import Augmentation
from .source import Source


@dataclass(frozen=True)
class DataSet:
    """Everything about a data set: adding one is adding a file to this folder that makes such an object.

    Attributes:
        name: as ``DATASET.TYPE``, the teacher store and records have it.
        num_classes: of the whole data set. A run's networks tell apart the classes that ``read`` finds.
        image_size: height and width of a batch's images.
        mean: of the training images' channels, values in [0, 1].
        std: likewise.
        augmentation: of training images.
        read: given ``DATASET.ROOT``, its classes and splits: images of one size decoded, which are kept on the device
            or given to workers (``DATASET.LOADER``), or a list of files, which workers decode.
        models: the model dictionary, under the name that every host has it by, whose networks are for such images.
        test_resize: what the shorter side of a test image is brought to before its centre is cut out; None: test
            images are taken as they are.
        known_to: whose scripts may train on it. ``mdistiller``: mdistiller's own, where ``models`` is its dictionary
            and no other data set's, so ``X_icc`` there is this one's teacher; ``forks``: those of its forks; ``us``:
            nobody else's.
        loaded: makes the loaders of a run, where they are somebody's own: `load`'s arguments to what it returns.
    """

    name: str
    num_classes: int
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    augmentation: Augmentation
    read: Callable[[Path], Source]
    models: Literal["cifar_model_dict", "tiny_imagenet_model_dict", "imagenet_model_dict"]
    test_resize: int | None = None
    known_to: Literal["mdistiller", "forks", "us"] = "forks"
    loaded: Callable[..., Any] | None = None
