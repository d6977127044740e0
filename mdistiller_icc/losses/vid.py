"""Variational information distillation: the teacher's feature under a Gaussian the student predicts."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.precision import full_precision


@full_precision
def vid_loss(mean: Tensor, log_scale: Tensor, feature_teacher: Tensor, eps: float) -> Tensor:
    """Negative log-likelihood of the teacher's feature, less its constant, averaged over all entries.

    Ahn et al., "Variational Information Distillation for Knowledge Transfer", CVPR 2019, arXiv:1904.05835,
    with one variance per channel, softplus(log_scale) + eps.

    Args:
        mean: (B, C, H, W), predicted from the student's feature, carries the gradient.
        log_scale: (C,), learned.
        feature_teacher: (B, C, H, W), taken as constant.
        eps: the least variance; ``VID.EPS``.

    Returns:
        Scalar.
    """
    variance = (F.softplus(log_scale) + eps)[:, None, None]
    return 0.5 * ((mean - feature_teacher.detach()).square() / variance + variance.log()).mean()
