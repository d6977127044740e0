"""Images of other sizes, brought to a run's: all at once if they are small, else one by one as they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from .cache import decode
from .dataset import SMALL, DataSet
from .source import Files, Split
from .workers import evaluation_transform

if TYPE_CHECKING:
    from torchvision.transforms import v2

CHUNK = 4096


def small(split: Split, size: int) -> Split:
    """The split with images of ``size`` pixels a side, if that is at most `SMALL`; else as it is.

    Files are decoded into a cache, each brought to the size by `images.fitted`.
    """
    if size > SMALL:
        return split
    if isinstance(split.images, Files):
        return Split(decode(split.images, size, split.images.folder.parent, resize=True), split.labels)
    return Split(_resized(split.images, size), split.labels)


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    if images.shape[-1] == size:
        return images
    made = np.empty((len(images), 3, size, size), dtype=np.uint8)
    for start in range(0, len(images), CHUNK):
        rows = slice(start, start + CHUNK)
        pixels = torch.from_numpy(np.array(images[rows], dtype=np.float32))
        other = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
        made[rows] = other.round_().clamp_(0, 255).to(torch.uint8).numpy()
    return made


def of_size(split: Split, size: int) -> bool:
    """Whether its images are decoded and all of this size."""
    return not isinstance(split.images, Files) and split.images.shape[-1] == size


def evaluation(described: DataSet, split: Split) -> v2.Transform:
    """What a worker does with a test image of ``split``, to uint8 (3, size, size)."""
    size = described.image_size
    return evaluation_transform(described.test_resize or (None if of_size(split, size) else size), size)


def fitting(described: DataSet, split: Split, augment: v2.Transform) -> v2.Transform:
    """An augmentation, after its images of ``split`` are brought to its size unless it cuts parts out of any."""
    size = described.image_size
    if described.augmentation.resized_crop or of_size(split, size):
        return augment
    from torchvision.transforms import v2

    return v2.Compose([v2.Resize(size, antialias=True), v2.CenterCrop(size), augment])
