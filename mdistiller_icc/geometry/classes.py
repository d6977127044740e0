"""Class-wise sums and means, and how a figure that does not exist is written."""

from __future__ import annotations

import torch
from torch import Tensor


def class_means(values: Tensor, target: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return the mean of ``values`` (N, K) over each class (C, K), zero where it has no image, and its images (C,)."""
    count = torch.bincount(target, minlength=num_classes)
    sums = values.new_zeros(num_classes, values.shape[1]).index_add_(0, target, values)
    return sums / count.clamp(min=1).unsqueeze(1), count


def listed(values: Tensor, known: Tensor) -> list[float | None]:
    """Return ``values`` (C,) as a list with None wherever ``known`` (C,) is False: JSON has no NaN.

    >>> listed(torch.tensor([0.5, 0.0]), torch.tensor([True, False]))
    [0.5, None]
    """
    return [value if there else None for value, there in zip(values.tolist(), known.tolist(), strict=True)]


def mean(values: list[float | None]) -> float | None:
    """Return the mean of the figures that exist, or None if there is none.

    >>> mean([1.0, None, 2.0])
    1.5
    """
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None
