"""Knowledge review: features compared at several pooled sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.precision import full_precision
from mdistiller_icc.losses.total import total

PYRAMID = (4, 2, 1)


@full_precision
def hcl_loss(feats_student: Sequence[Tensor], feats_teacher: Sequence[Tensor]) -> Tensor:
    """Hierarchical context loss: mean squared differences over a pyramid of pooled maps, summed over levels.

    Chen et al., "Distilling Knowledge via Knowledge Review", CVPR 2021, arXiv:2104.09044, section 3.4. The
    full map has weight 1, the map pooled to 4×4, 2×2 and 1×1 (where that is smaller) half the weight of the
    one before; a level is the weighted mean.

    Args:
        feats_student: one fused map (B, C, H, W) per level, carries the gradient.
        feats_teacher: maps of the same shapes, taken as constant.

    Returns:
        Scalar.
    """
    losses = []
    for student, teacher in zip(feats_student, feats_teacher, strict=True):
        teacher = teacher.detach()
        terms, weights = [F.mse_loss(student, teacher)], [1.0]
        for size in (size for size in PYRAMID if size < student.shape[2]):
            pooled = F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size)
            terms.append(F.mse_loss(*pooled))
            weights.append(weights[-1] / 2)
        losses.append(total(w * term for w, term in zip(weights, terms, strict=True)) / sum(weights))
    return total(losses)
