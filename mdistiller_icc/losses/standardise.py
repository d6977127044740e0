"""Logit standardisation: every row of logits with mean 0 and deviation 1, so that only their shape is learnt."""

from __future__ import annotations

from torch import Tensor

from mdistiller_icc.losses.direction import divisor
from mdistiller_icc.losses.precision import full_precision


@full_precision
def standardise(logits: Tensor) -> Tensor:
    """``z̃ = (z − mean_c z) / (std_c z + 1e-7)`` with the unbiased deviation over a row's classes.

    Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024, arXiv:2403.01427, and the
    authors' released code [A]. Both networks' logits are standardised, and the gradient goes through the
    student's mean and deviation. A row of equal logits becomes zeros, and one of
    next to equal ones only loses its mean (`divisor`).

    Args:
        logits: (B, C) with C ≥ 2.

    Returns:
        (B, C).
    """
    return (logits - logits.mean(1, keepdim=True)) / (divisor(logits.std(1, keepdim=True)) + 1e-7)
