"""Attention transfer: the student looks where the teacher looks."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.precision import full_precision
from mdistiller_icc.losses.resolution import same_resolution
from mdistiller_icc.losses.total import total


@full_precision
def at_loss(feats_student: Sequence[Tensor], feats_teacher: Sequence[Tensor], p: float) -> Tensor:
    """Mean squared difference between normalised attention maps, summed over stages.

    Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017, arXiv:1612.03928, eq. (2), with
    the channels' mean of |A|^p as attention and the squared distance averaged over positions.

    Args:
        feats_student: one map (B, C, H, W) per stage, carries the gradient.
        feats_teacher: as many maps, taken as constant; channels and resolution may differ.
        p: the power; ``AT.P``.

    Returns:
        Scalar.
    """
    losses = []
    for student, teacher in zip(feats_student, feats_teacher, strict=True):
        student, teacher = same_resolution(student, teacher.detach())
        losses.append(F.mse_loss(_attention(student, p), _attention(teacher, p)))
    return total(losses)


def _attention(feature: Tensor, p: float) -> Tensor:
    """(B, C, H, W) to unit vectors (B, H·W)."""
    return F.normalize(feature.abs().pow(p).mean(1).flatten(1))
