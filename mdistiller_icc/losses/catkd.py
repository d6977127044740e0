"""CAT-KD: the student's class activation maps follow the teacher's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.direction import direction
from mdistiller_icc.losses.precision import full_precision


@full_precision
def catkd_loss(maps_student: Tensor, maps_teacher: Tensor, resolution: int, normalise: bool = False) -> Tensor:
    """Mean squared difference of the activation maps, pooled to r × r and, if asked, of unit length each.

    Guo et al., "Class Attention Transfer Based Knowledge Distillation", CVPR 2023, arXiv:2304.12777, and the
    authors' released code [A].

    Args:
        maps_student: a map per class, (B, C, h, w), carries the gradient.
        maps_teacher: (B, C, h', w'), taken as constant.
        resolution: r; ``CATKD.RESOLUTION``.
        normalise: ``CATKD.NORMALISE``.

    Returns:
        Scalar.
    """
    student, teacher = (
        F.adaptive_avg_pool2d(maps, resolution).flatten(2) for maps in (maps_student, maps_teacher.detach())
    )
    if normalise:
        student, teacher = direction(student, 2), direction(teacher, 2)
    return F.mse_loss(student, teacher)
