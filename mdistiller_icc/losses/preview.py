"""Preview weights of PCKD: a sample that is too hard for now counts for less."""

from __future__ import annotations

import torch
from torch import Tensor

from mdistiller_icc.losses.precision import full_precision


@full_precision
def preview_weights(cross_entropy: Tensor, mean: Tensor, epoch: int, growth: float = 1.005) -> Tensor:
    """1 for samples of difficulty ``γ_i ≤ t``, ``exp(−γ_i²)`` for harder ones; t grows with the epochs.

    ``γ_i = CE_i / mean(CE)`` and ``t(e) = growth^e``. Ding et al., "Preview-based Category Contrastive
    Learning for Knowledge Distillation", arXiv:2410.14143, and the authors' released code [A], in which the
    weights of hard samples carry a gradient, through CE_i and through the mean.

    Args:
        cross_entropy: CE_i of the un-rotated images, (B,), carries the gradient.
        mean: mean(CE) over the whole batch (all ranks' where the batch is split), scalar, carries the gradient.
        epoch: e, counted from 1.
        growth: ``PCKD.PREVIEW_GROWTH``.

    Returns:
        v, (B,), in (0, 1].
    """
    difficulty = cross_entropy / mean.clamp(min=torch.finfo(mean.dtype).tiny)
    return torch.where(difficulty <= growth**epoch, torch.ones_like(difficulty), (-difficulty.square()).exp())
