"""What there is to say about a data set, in one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from .augment import Augmentation
from .source import Source

SMALL = 64
"""Up to this many pixels images are brought to their size once, and trained on by the networks for small images."""


@dataclass(frozen=True)
class DataSet:
    """Everything about a data set: adding one is adding a file to this folder that makes such an object.

    Attributes:
        name: as ``DATASET.TYPE``, the teacher store and records have it.
        num_classes: of the whole data set; None where it is anybody's. A run's networks tell apart the classes that
            ``read`` finds.
        image_size: height and width of a batch's images.
        mean: of the training images' channels, values in [0, 1]; None: measured.
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
    num_classes: int | None
    image_size: int
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None
    augmentation: Augmentation
    read: Callable[[Path], Source]
    models: Literal["cifar_model_dict", "tiny_imagenet_model_dict", "imagenet_model_dict"]
    test_resize: int | None = None
    known_to: Literal["mdistiller", "forks", "us"] = "forks"
    loaded: Callable[..., Any] | None = None

    def at(self, size: int | None) -> DataSet:
        """The same data set with images of ``size`` pixels a side (``DATASET.IMAGE_SIZE``), or as it is for None.

        Up to `SMALL` they are trained on as CIFAR's are, with a padding of an eighth; beyond, as its own size is.
        """
        if size is None or size == self.image_size:
            return self
        small, old = size <= SMALL, self.augmentation
        padding = size // 8 if small and old.resized_crop else round(old.padding * size / self.image_size)
        resize = None if small or self.test_resize is None else round(self.test_resize * size / self.image_size)
        return replace(
            self,
            image_size=size,
            augmentation=replace(old, resized_crop=old.resized_crop and not small, padding=padding),
            test_resize=resize,
            models="cifar_model_dict" if small else "imagenet_model_dict",
        )
