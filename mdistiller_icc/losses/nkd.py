"""NKD: the target's probability and, normalised by themselves, the other classes' are learnt apart."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.precision import full_precision
from mdistiller_icc.losses.target import split_target


@full_precision
def target_loss(logits_student: Tensor, logits_teacher: Tensor, target: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """``−mean_b p_t[y] · log p_s[y]`` at T = 1: the label, as far as the teacher believes it.

    Yang et al., arXiv:2303.13005, and the authors' released code [A]; WKD has it too.

    Args:
        logits_student: (B, C), carries the gradient.
        logits_teacher: (B, C), taken as constant.
        target: (B,) class numbers.
        weight: of each image, (B,).

    Returns:
        Scalar, in nats.
    """
    believed = F.softmax(logits_teacher.detach(), dim=1).gather(1, target.reshape(-1, 1)).squeeze(1)
    return (weight * believed * F.cross_entropy(logits_student, target, reduction="none")).mean()


@full_precision
def nkd_loss(
    logits_student: Tensor,
    logits_teacher: Tensor,
    target: Tensor,
    gamma: float,
    temperature: float,
    weight: Tensor | float = 1.0,
) -> Tensor:
    """`target_loss` plus ``γ T²`` times the cross-entropy among the C − 1 other classes.

    Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with
    Normalized Loss and Customized Soft Labels", ICCV 2023, arXiv:2303.13005, and the authors' code [A].

    Args:
        logits_student: (B, C) with C ≥ 2, carries the gradient.
        logits_teacher: (B, C), taken as constant.
        target: (B,) class numbers.
        gamma: γ; ``NKD.GAMMA``.
        temperature: T of the other classes; ``NKD.TEMPERATURE``.
        weight: of each image, (B,).

    Returns:
        Scalar, averaged over the batch.
    """
    _, rest_student = split_target(logits_student / temperature, target)
    _, rest_teacher = split_target(logits_teacher.detach() / temperature, target)
    each = F.cross_entropy(rest_student, F.softmax(rest_teacher, dim=1), reduction="none")
    others = (weight * each).mean() * temperature**2
    return target_loss(logits_student, logits_teacher, target, weight) + gamma * others
