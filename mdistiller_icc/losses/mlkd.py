"""MLKD: predictions agree image by image, and in how images and classes relate, at several temperatures.

All of Jin, Wang & Lin, "Multi-Level Logit Distillation", CVPR 2023, and the authors' released code [A].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.divergence import divergence
from mdistiller_icc.losses.precision import full_precision
from mdistiller_icc.losses.total import total


@full_precision
def selection(logits_teacher: Tensor, per_sample: bool = False) -> tuple[Tensor, Tensor]:
    """Weights of the images and of the classes: 1 for the half that the teacher is less sure of.

    An image counts if the teacher's largest probability (T = 1) is at most the batch's median, a class if
    the teacher's probabilities of it add up to at most the median over the classes. The released code
    reduces each loss to a scalar before it weights it, so there the share that counts is all that acts [A].

    Args:
        logits_teacher: (B, C), taken as constant.
        per_sample: weight each image and class by itself, as the paper means it.

    Returns:
        (B,) and (C,), or two scalars, the shares that count.
    """
    probability = F.softmax(logits_teacher.detach(), dim=1)
    held = []
    for sureness in (probability.max(1).values, probability.sum(0)):
        mask = (sureness <= sureness.median()).to(sureness.dtype)
        held.append(mask if per_sample else mask.mean())
    return held[0], held[1]


@full_precision
def instance_alignment_loss(
    logits_student: Tensor, logits_teacher: Tensor, temperatures: Sequence[float], weight: Tensor | float = 1.0
) -> Tensor:
    """``Σ_τ τ² · mean_b w_b KL(p_t ‖ p_s)``.

    Args:
        logits_student: (B, C), carries the gradient.
        logits_teacher: (B, C), taken as constant.
        temperatures: every τ.
        weight: of the images, from `selection`.

    Returns:
        Scalar.
    """
    parts = []
    for temperature in temperatures:
        student = F.log_softmax(logits_student / temperature, dim=1)
        teacher = F.log_softmax(logits_teacher.detach() / temperature, dim=1)
        parts.append((weight * divergence(student, teacher)).mean() * temperature**2)
    return total(parts)


@full_precision
def class_alignment_loss(
    logits_student: Tensor, logits_teacher: Tensor, temperatures: Sequence[float], weight: Tensor | float = 1.0
) -> Tensor:
    """``Σ_τ mean_c w_c ‖row c of P_tᵀP_t − P_sᵀP_s‖²``: how classes go together over the batch, (C, C).

    Args:
        logits_student: (B, C), carries the gradient.
        logits_teacher: (B, C), taken as constant.
        temperatures: every τ.
        weight: of the classes, from `selection`.

    Returns:
        Scalar; it grows with the batch.
    """
    return _relations(lambda p: p.T @ p, logits_student, logits_teacher, temperatures, weight)


@full_precision
def batch_alignment_loss(
    logits_student: Tensor, logits_teacher: Tensor, temperatures: Sequence[float], weight: Tensor | float = 1.0
) -> Tensor:
    """``Σ_τ mean_b w_b ‖row b of P_tP_tᵀ − P_sP_sᵀ‖²``: how the batch's images relate, (B, B).

    Args:
        logits_student: (B, C), carries the gradient.
        logits_teacher: (B, C), taken as constant.
        temperatures: every τ.
        weight: of the images, from `selection`.

    Returns:
        Scalar; it grows with the batch.
    """
    return _relations(lambda p: p @ p.T, logits_student, logits_teacher, temperatures, weight)


def _relations(
    relations: Callable[[Tensor], Tensor],
    logits_student: Tensor,
    logits_teacher: Tensor,
    temperatures: Sequence[float],
    weight: Tensor | float,
) -> Tensor:
    parts = []
    for temperature in temperatures:
        student = F.softmax(logits_student / temperature, dim=1)
        teacher = F.softmax(logits_teacher.detach() / temperature, dim=1)
        difference = relations(teacher) - relations(student)
        parts.append((weight * difference.square().sum(1)).mean())
    return total(parts)
