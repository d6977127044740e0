"""What is done to each data set's images, as the benchmark does it."""

from __future__ import annotations

from dataclasses import dataclass

from .augment import Augmentation


@dataclass(frozen=True)
class Recipe:
    """How the images of a data set are augmented and normalised.

    Attributes:
        image_size: height and width of a batch's images.
        mean: of the training images' channels, values in [0, 1].
        std: likewise.
    """

    image_size: int
    augmentation: Augmentation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


RECIPES = {
    # A mirrored digit is another symbol, so digits are not flipped.
    "digits": Recipe(32, Augmentation(padding=4), (0.3054,) * 3, (0.3237,) * 3),
    "cifar100": Recipe(32, Augmentation(padding=4, flip=True), (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "tiny_imagenet": Recipe(
        64, Augmentation(degrees=20.0, flip=True), (0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)
    ),
    "imagenet": Recipe(224, Augmentation(resized_crop=True, flip=True), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
