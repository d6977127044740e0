"""Another data set's images to learn from, which nobody but the teacher has labels for."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mdistiller_icc.errors import UserError
from mdistiller_icc.losses.gather import gather_rows

from .loaders import Loaded
from .source import Files, Split

CHUNK = 4096
UNKNOWN = -1
"""The label of an image that `label` has not seen; every loss refuses it."""


def borrow(split: Split, size: int, name: str) -> Split:
    """The images of a split, resized to ``size`` pixels; their labels still say which of them are chosen.

    Raises:
        UserError: they are files of many sizes, which are decoded as they are needed.
    """
    if isinstance(split.images, Files):
        raise UserError(f"DATASET.IMAGES {name}: its images differ in size; only data sets of one size can be borrowed")
    if split.images.shape[-1] == size:
        return split
    images = np.empty((len(split), 3, size, size), dtype=np.uint8)
    for start in range(0, len(split), CHUNK):
        rows = slice(start, start + CHUNK)
        large = torch.from_numpy(np.array(split.images[rows], dtype=np.float32))
        small = F.interpolate(large, size=(size, size), mode="bilinear", antialias=True)
        images[rows] = small.round_().clamp_(0, 255).to(torch.uint8).numpy()
    return Split(images, split.labels)


@torch.no_grad()
def label(dataset: Loaded, teacher: nn.Module, device: torch.device) -> None:
    """Give every borrowed training image, as it is and not augmented, the class that the teacher sees in it.

    Args:
        teacher: in eval mode, on the device.
    """
    if dataset.unlabelled is not None:
        seen = [teacher(image.to(device))[0].argmax(dim=1) for image, _label in dataset.unlabelled]
        dataset.train.relabel(*gather_rows(torch.cat(seen)))
