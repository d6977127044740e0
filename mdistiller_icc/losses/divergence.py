"""The Kullback-Leibler divergence between predictions, of each image or over the batch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """``Σ_c p_t log(p_t / p_s)`` of each row, (B,), in nats.

    Args:
        student: log-probabilities, (B, C).
        teacher: log-probabilities, (B, C).
    """
    return F.kl_div(student, teacher, reduction="none", log_target=True).sum(1)


def mean_divergence(student: Tensor, teacher: Tensor, weight: Tensor | None = None) -> Tensor:
    """`divergence` averaged over the batch, a scalar in nats.

    Args:
        student: log-probabilities, (B, C).
        teacher: log-probabilities, (B, C).
        weight: (B,), by which each row is multiplied.
    """
    if weight is None:
        return F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return (weight * divergence(student, teacher)).mean()
