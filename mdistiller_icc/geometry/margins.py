"""How far the true class leads: the mean of ICC's margin over each class, and accuracy."""

from __future__ import annotations

import torch
from torch import Tensor

from mdistiller_icc.geometry.classes import class_means, listed
from mdistiller_icc.losses.margin import margin


def class_margins(logits: Tensor, target: Tensor) -> list[float | None]:
    """Return the mean over each class's samples of ``ρ = p_y − max_{i ≠ y} p_i``, None for a class without one.

    ρ is the margin of ICC's gate (`mdistiller_icc.losses.margin`), negative where another class leads.

    Args:
        logits: (N, C).
        target: (N,).
    """
    means, count = class_means(margin(logits.double(), target).unsqueeze(1), target, logits.shape[1])
    return listed(means.squeeze(1), count > 0)


def accuracy(logits: Tensor, target: Tensor) -> float:
    """Return the share of samples whose largest logit is their own class's, in percent."""
    return 100 * (logits.argmax(1) == target).to(torch.float64).mean().item()
