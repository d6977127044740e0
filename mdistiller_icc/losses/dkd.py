"""Decoupled knowledge distillation: how sure the teacher is, and how it ranks the rest, weighted apart."""

from __future__ import annotations

from torch import Tensor

from mdistiller_icc.losses.divergence import mean_divergence
from mdistiller_icc.losses.precision import full_precision
from mdistiller_icc.losses.target import split_target, two_way


@full_precision
def dkd_loss(
    logits_student: Tensor,
    logits_teacher: Tensor,
    target: Tensor,
    alpha: float,
    beta: float,
    temperature: float,
    weight: Tensor | None = None,
) -> Tensor:
    """``alpha * TCKD + beta * NCKD``, times T², averaged over the batch.

    Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, arXiv:2203.08679, eq. (7). TCKD compares
    the two-way split (target, everything else), NCKD the distribution among the other classes. All of it
    is computed from log-probabilities, so it stays finite where a probability underflows; with two
    classes nothing is left to rank and NCKD is 0.

    Args:
        logits_student: (B, C) with C ≥ 2, carries the gradient.
        logits_teacher: (B, C), taken as constant.
        target: (B,) class numbers.
        alpha: weight of TCKD; ``DKD.ALPHA``.
        beta: weight of NCKD; ``DKD.BETA``.
        temperature: T; ``DKD.T``.
        weight: of each image, (B,); 1 without it.

    Returns:
        Scalar.
    """
    split_student, rest_student = _decouple(logits_student / temperature, target)
    split_teacher, rest_teacher = _decouple(logits_teacher.detach() / temperature, target)
    tckd = mean_divergence(split_student, split_teacher, weight)
    nckd = mean_divergence(rest_student, rest_teacher, weight)
    return (alpha * tckd + beta * nckd) * temperature**2


def _decouple(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of (target, not target), (B, 2), and among the other classes, (B, C - 1)."""
    hit, rest = split_target(logits, target)
    return two_way(hit, rest), rest.log_softmax(1)
