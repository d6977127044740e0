"""Similarity-preserving distillation: which images of a batch activate the network alike."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.direction import direction
from mdistiller_icc.losses.precision import full_precision


@full_precision
def sp_loss(feature_student: Tensor, feature_teacher: Tensor) -> Tensor:
    """Mean squared difference of the two networks' row-normalised Gram matrices over the batch.

    Tung & Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, arXiv:1907.09682, eqs. (1) to (4).

    Args:
        feature_student: (B, …), flattened, carries the gradient.
        feature_teacher: (B, …), taken as constant.

    Returns:
        Scalar.
    """
    return F.mse_loss(_similarity(feature_student), _similarity(feature_teacher.detach()))


def _similarity(feature: Tensor) -> Tensor:
    """(B, …) to (B, B) with rows of length 1."""
    rows = feature.flatten(1)
    return direction(rows @ rows.T, 1)
