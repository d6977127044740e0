"""GDKD: DKD's split with the teacher's first classes in the place of the label."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.divergence import divergence
from mdistiller_icc.losses.precision import full_precision
from mdistiller_icc.losses.target import two_way


@full_precision
def gdkd_loss(
    logits_student: Tensor,
    logits_teacher: Tensor,
    first: int,
    split_weight: float,
    first_weight: float,
    rest_weight: float,
    temperature: float,
) -> Tensor:
    """``w₀ KL(first or rest) + w₁ KL(within the first) + w₂ KL(within the rest)``, times T².

    By the authors' released code (ZaberKo/GDKD, 2025) [A]. The first are the k classes with the teacher's
    largest logits.

    Args:
        logits_student: (B, C), carries the gradient.
        logits_teacher: (B, C), taken as constant.
        first: k, at least 1 and below C; ``GDKD.K``.
        split_weight: w₀; ``GDKD.SPLIT_WEIGHT``.
        first_weight: w₁; ``GDKD.FIRST_WEIGHT``.
        rest_weight: w₂; ``GDKD.REST_WEIGHT``.
        temperature: T; ``GDKD.TEMPERATURE``.

    Returns:
        Scalar, averaged over the batch.

    Raises:
        ValueError: k is out of range.
    """
    classes = logits_teacher.shape[1]
    if not 0 < first < classes:
        raise ValueError(f"the first {first} of {classes} classes leave none")
    teacher, order = (logits_teacher.detach() / temperature).sort(1, descending=True)
    student = (logits_student / temperature).gather(1, order)
    first_student, rest_student = student.split([first, classes - first], dim=1)
    first_teacher, rest_teacher = teacher.split([first, classes - first], dim=1)
    each = (
        split_weight * divergence(two_way(first_student, rest_student), two_way(first_teacher, rest_teacher))
        + first_weight * divergence(F.log_softmax(first_student, dim=1), F.log_softmax(first_teacher, dim=1))
        + rest_weight * divergence(F.log_softmax(rest_student, dim=1), F.log_softmax(rest_teacher, dim=1))
    )
    return each.mean() * temperature**2
