"""Probabilistic knowledge transfer: the batch's similarities, read as probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from mdistiller_icc.losses.direction import direction
from mdistiller_icc.losses.precision import full_precision

EPS = 1e-7


@full_precision
def pkt_loss(feature_student: Tensor, feature_teacher: Tensor) -> Tensor:
    """Divergence between the two networks' probabilities of picking a neighbour, averaged over pairs.

    Passalis & Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018,
    arXiv:1803.10837, with the cosine kernel (cos + 1)/2, an image counted as its own neighbour too.

    Args:
        feature_student: (B, D), carries the gradient.
        feature_teacher: (B, D'), taken as constant.

    Returns:
        Scalar: Σ_ij p_ij log(p_ij / q_ij) / B², p the teacher's, q the student's.
    """
    student = _neighbours(feature_student)
    teacher = _neighbours(feature_teacher.detach())
    return (teacher * torch.log((teacher + EPS) / (student + EPS))).mean()


def _neighbours(feature: Tensor) -> Tensor:
    """(B, D) to (B, B), rows summing to 1."""
    unit = direction(feature, 1)
    kernel = (unit @ unit.T + 1) / 2
    return kernel / kernel.sum(1, keepdim=True)
