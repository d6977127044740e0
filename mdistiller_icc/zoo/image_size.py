"""Images brought to the size that a network wants."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mdistiller_icc.errors import UserError
from mdistiller_icc.features import mixed
from mdistiller_icc.probe import returned

SMALL = 32
"""A network that does not take images of so few pixels a side is shown every image in its own size."""


def resized_for(model: nn.Module, own: int, fixed: bool = False) -> nn.Module:
    """Have a network that takes one size of images alone resize whatever it is given; any other stays as it is.

    Args:
        model: of a zoo.
        own: height and width of the images that it was made for.
        fixed: whether its zoo says that it takes no others.
    """
    if fixed or not _takes(model, SMALL):
        model = mixed(model, _Resizes)
        model.image_size = own
    return model


def _takes(model: nn.Module, size: int) -> bool:
    try:
        returned(model, size)
    except UserError:
        return False
    return True


class _Resizes(nn.Module):
    """Enlarges or shrinks images (B, 3, H, W), bilinearly, on their way into a network."""

    image_size: int

    def forward(self, image: Tensor) -> Any:
        size = (self.image_size, self.image_size)
        if image.shape[2:] != size:
            image = F.interpolate(image, size, mode="bilinear", antialias=image.shape[-1] > self.image_size)
        return super().forward(image)
