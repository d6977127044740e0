"""Another data set's images to learn from, which nobody but the teacher has labels for."""

from __future__ import annotations

import torch
from torch import nn

from mdistiller_icc.losses.gather import gather_rows

from .loaders import Loaded

UNKNOWN = -1
"""The label of an image that `label` has not seen; every loss refuses it."""


@torch.no_grad()
def label(dataset: Loaded, teacher: nn.Module, device: torch.device) -> None:
    """Give every borrowed training image, as it is and not augmented, the class that the teacher sees in it.

    Args:
        teacher: in eval mode, on the device.
    """
    if dataset.unlabelled is not None:
        seen = [teacher(image.to(device))[0].argmax(dim=1) for image, _label in dataset.unlabelled]
        dataset.train.relabel(*gather_rows(torch.cat(seen)))
