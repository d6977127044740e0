"""Neuron selectivity transfer: the student's channels fire at the same places as the teacher's."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.precision import full_precision
from mdistiller_icc.losses.resolution import same_resolution
from mdistiller_icc.losses.total import total


@full_precision
def nst_loss(feats_student: Sequence[Tensor], feats_teacher: Sequence[Tensor]) -> Tensor:
    """Squared maximum mean discrepancy between the channels' selectivity maps, summed over stages.

    Huang & Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", arXiv:1707.01219,
    with the polynomial kernel k(x, y) = (x·y)². A channel's map is scaled to length 1, and a stage's
    loss is averaged over the batch. Nothing larger than one matrix per image is built.

    Args:
        feats_student: one map (B, C, H, W) per stage, carries the gradient.
        feats_teacher: as many maps, taken as constant; channels and resolution may differ.

    Returns:
        Scalar.
    """
    losses = []
    for student, teacher in zip(feats_student, feats_teacher, strict=True):
        student, teacher = same_resolution(student, teacher.detach())
        losses.append(_discrepancy(F.normalize(student.flatten(2), dim=2), F.normalize(teacher.flatten(2), dim=2)))
    return total(losses)


def _discrepancy(student: Tensor, teacher: Tensor) -> Tensor:
    """The loss of one stage, for (B, C, P) and (B, C', P) with rows of length 1."""
    (_, channels_student, positions), channels_teacher = student.shape, teacher.shape[1]
    if positions <= min(channels_student, channels_teacher):
        # mean_ij (s_i·t_j)² = <SᵀS/C, TᵀT/C'>, so the discrepancy is a distance of two P×P matrices.
        moment_student = student.mT @ student / channels_student
        moment_teacher = teacher.mT @ teacher / channels_teacher
        return (moment_student - moment_teacher).square().sum((1, 2)).mean()
    return (
        (teacher @ teacher.mT).square().mean()
        + (student @ student.mT).square().mean()
        - 2 * (student @ teacher.mT).square().mean()
    )
