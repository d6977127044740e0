"""Relational distillation: distances and angles between the images of a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.direction import direction
from mdistiller_icc.losses.precision import full_precision


@full_precision
def rkd_loss(
    feature_student: Tensor,
    feature_teacher: Tensor,
    distance_weight: float,
    angle_weight: float,
    eps: float = 1e-12,
    squared: bool = False,
) -> Tensor:
    """Huber distance between the two networks' relative distances and angles.

    Park et al., "Relational Knowledge Distillation", CVPR 2019, arXiv:1904.05068, sections 3.2.1 and 3.2.2.
    Distances are divided by their mean over the pairs; the angles are all those at every image of the
    batch. A batch of one image has neither, and a loss of 0.

    Args:
        feature_student: (B, …), flattened, carries the gradient.
        feature_teacher: (B, …), taken as constant.
        distance_weight: ``RKD.DISTANCE_WEIGHT``.
        angle_weight: ``RKD.ANGLE_WEIGHT``.
        eps: the least squared distance; ``RKD.PDIST.EPSILON``.
        squared: compare squared distances; ``RKD.PDIST.SQUARED``.

    Returns:
        Scalar.
    """
    student, teacher = feature_student.flatten(1), feature_teacher.detach().flatten(1)
    distance = F.smooth_l1_loss(_distances(student, eps, squared), _distances(teacher, eps, squared))
    angle = F.smooth_l1_loss(_angles(student), _angles(teacher))
    return distance_weight * distance + angle_weight * angle


def _distances(feature: Tensor, eps: float, squared: bool) -> Tensor:
    """Pairwise distances (B, B) divided by their mean; 0 on the diagonal."""
    square = feature.square().sum(1)
    distance = (square[:, None] + square[None, :] - 2 * feature @ feature.T).clamp(min=eps)
    if not squared:
        distance = distance.sqrt()
    distance = distance.masked_fill(torch.eye(len(feature), dtype=torch.bool, device=feature.device), 0)
    mean = distance.sum() / (distance > 0).sum().clamp(min=1)
    return distance / mean.clamp(min=torch.finfo(mean.dtype).tiny)


def _angles(feature: Tensor) -> Tensor:
    """Cosines (B, B, B): entry [i, j, k] of the angle at image i between j and k."""
    towards = direction(feature[None, :] - feature[:, None], 2)
    return towards @ towards.mT
