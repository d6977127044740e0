"""KD++'s ND loss: the student's feature points to its class's mean in the teacher, and is as long as the teacher's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.direction import divisor
from mdistiller_icc.losses.precision import full_precision


@full_precision
def nd_loss(feature_student: Tensor, feature_teacher: Tensor, center: Tensor) -> Tensor:
    """``mean_b [1 − ⟨e_s, c_y/‖c_y‖⟩ / max(‖e_s‖, ‖e_t‖)]``.

    Wang et al., "Improving Knowledge Distillation via Regularizing Feature Norm and Direction",
    arXiv:2305.17007, and the authors' released code [A].

    Args:
        feature_student: e_s, (B, D), carries the gradient.
        feature_teacher: e_t, (B, D), taken as constant.
        center: c_y, the teacher's mean of each image's class, (B, D), taken as constant.

    Returns:
        Scalar between 0 and 2.
    """
    along = (feature_student * F.normalize(center.detach(), dim=1)).sum(1)
    longest = torch.maximum(feature_student.norm(dim=1), feature_teacher.detach().norm(dim=1))
    return (1 - along / divisor(longest)).mean()
