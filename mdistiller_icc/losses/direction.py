"""What a vector that is too short to have a direction is divided by, so that its gradient stays bounded."""

from __future__ import annotations

import torch
from torch import Tensor

SHORTEST = 1e-3
"""A shorter vector has no direction, and a smaller deviation no shape: it is left as it is [R]."""


def divisor(length: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """The length; where that is below `SHORTEST` times the scale, the scale.

    The gradient of x / ‖x‖ is 1 / ‖x‖. A student whose classifier begins at zero would not survive its first step.

    Args:
        length: of any shape.
        scale: what it is compared with, of the same shape or a number.
    """
    return torch.where(length < SHORTEST * scale, scale, length)


def direction(vectors: Tensor, dim: int) -> Tensor:
    """The vectors along ``dim`` at length 1, those that are next to nothing as they are."""
    return vectors / divisor(vectors.norm(dim=dim, keepdim=True))
