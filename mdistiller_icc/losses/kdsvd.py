"""Distillation of singular vectors: how a stage's main directions relate to those of the stage before."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.precision import full_precision
from mdistiller_icc.losses.resolution import same_resolution
from mdistiller_icc.losses.total import total

SPARE = 3
"""How many more of the student's singular vectors are offered to the alignment than the teacher's."""


@full_precision
def kdsvd_loss(feats_student: Sequence[Tensor], feats_teacher: Sequence[Tensor], k: int) -> Tensor:
    """Squared difference of the networks' RBF relations between successive stages' singular vectors.

    Lee, Kim & Song, "Self-supervised Knowledge Distillation Using Singular Value Decomposition", ECCV 2018,
    arXiv:1807.06819. As in mdistiller a map is read as a (C·H, W) matrix, which frees the student from the
    teacher's channels (the paper decomposes (H·W, C)). Each of the teacher's k right singular vectors is
    matched with the student's most parallel one, both are scaled by the teacher's singular value, and the
    relation between two stages is exp(−(v − v')²/8). Summed over relations, averaged over the batch.

    Args:
        feats_student: one map (B, C, H, W) per stage, at least two, carries the gradient.
        feats_teacher: as many maps, taken as constant.
        k: singular vectors; ``KDSVD.K``.

    Returns:
        Scalar. Where singular values coincide their vectors have no derivative: such entries get none.
    """
    directions = [
        _directions(*same_resolution(student, teacher.detach()), k)
        for student, teacher in zip(feats_student, feats_teacher, strict=True)
    ]
    losses = [
        (_relation(student, before_student) - _relation(teacher, before_teacher)).square().sum() / len(student)
        for (before_student, before_teacher), (student, teacher) in zip(directions, directions[1:], strict=False)
    ]
    return total(losses)


def _directions(student: Tensor, teacher: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The aligned singular vectors of one stage, (B, W, k) each, scaled by the teacher's singular values."""
    _, vectors_student = _decompose(student, k + SPARE)
    values, vectors_teacher = _decompose(teacher, k)
    cosine = vectors_student.mT @ vectors_teacher
    best = cosine.detach().abs().argmax(1, keepdim=True)
    sign = cosine.detach().gather(1, best).sign()
    matched = vectors_student.gather(2, best.expand(-1, vectors_student.shape[1], -1)) * sign
    scale = F.normalize(values, dim=1)[:, None]
    return matched * scale, vectors_teacher * scale


@torch.compiler.disable  # on a GPU it looks at its result, which a captured graph cannot
def _decompose(feature: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest singular values (B, count) of (C·H, W), and their right vectors (B, W, count).

    NaN for an image that is not finite.
    """
    matrix = feature.flatten(1, 2)
    if matrix.requires_grad:
        matrix.register_hook(lambda gradient: gradient.nan_to_num(0.0, 0.0, 0.0))
    finite = matrix.isfinite().all(2, keepdim=True).all(1, keepdim=True)
    _, values, vectors = torch.linalg.svd(matrix.where(finite, 0.0), full_matrices=False)  # raises at a NaN
    return values[:, :count].where(finite[:, 0], math.nan), vectors[:, :count].mT.where(finite, math.nan)


def _relation(vectors: Tensor, before: Tensor) -> Tensor:
    """(B, W, k) and (B, W', k) to (B, W, W', k)."""
    return torch.exp(-(vectors[:, :, None] - before[:, None]).square() / 8)
