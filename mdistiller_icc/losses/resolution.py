"""Feature maps of two networks brought to one resolution."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def same_resolution(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pool the larger of two feature maps to the height and width of the smaller.

    Args:
        first: (B, C, H, W).
        second: (B, C', H', W').

    Returns:
        Both maps, each min(H, H') high and min(W, W') wide.
    """
    size = (min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3]))
    return _pooled(first, size), _pooled(second, size)


def _pooled(feature: Tensor, size: tuple[int, int]) -> Tensor:
    return feature if feature.shape[2:] == size else F.adaptive_avg_pool2d(feature, size)
