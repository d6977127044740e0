"""FitNets' hint: a stage of the student predicts a stage of the teacher."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.precision import full_precision


@full_precision
def hint_loss(predicted: Tensor, feature_teacher: Tensor) -> Tensor:
    """Mean squared difference between the regressor's output and the teacher's feature map.

    Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, arXiv:1412.6550, eq. (3), averaged
    instead of halved.

    Args:
        predicted: (B, C, H, W), carries the gradient.
        feature_teacher: (B, C, H, W), taken as constant.

    Returns:
        Scalar.
    """
    return F.mse_loss(predicted, feature_teacher.detach())
