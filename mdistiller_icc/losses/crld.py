"""CRLD: predictions agree on each of two views of an image, and across them, where the teacher is sure."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.divergence import divergence
from mdistiller_icc.losses.precision import full_precision


@full_precision
def crld_loss(
    weak_student: Tensor,
    strong_student: Tensor,
    weak_teacher: Tensor,
    strong_teacher: Tensor,
    temperature: float,
    within_weight: float,
    cross_weight: float,
    within_threshold: float = 0.9,
    cross_threshold: float = 0.2,
) -> Tensor:
    """Divergences within the views, and across them, of the images of which the teacher is sure.

    ``w · mean_b m_w (kl(w→w) + kl(s→s)) + w' · mean_b m_s (kl(w→s) + kl(s→w))``, kl(a→b) from the
    teacher's view a to the student's view b, times T²; m_w and m_s say whether the teacher's largest
    probability (T = 1) on the weak or strong view reaches a threshold. Zhang et al., "Cross-View
    Consistency Regularisation for Knowledge Distillation", ACM MM 2024, arXiv:2412.16493, as two independent
    ports have it; that the strong view chooses for the cross term is the first port's, our reading [R].

    Args:
        weak_student: (B, C), carries the gradient.
        strong_student: (B, C), carries the gradient.
        weak_teacher: (B, C), taken as constant.
        strong_teacher: (B, C), taken as constant.
        temperature: T; ``CRLD.TEMPERATURE``.
        within_weight: w; ``CRLD.WITHIN_WEIGHT``.
        cross_weight: w'; ``CRLD.CROSS_WEIGHT``.
        within_threshold: of the weak view; ``CRLD.WITHIN_THRESHOLD``.
        cross_threshold: of the strong view; ``CRLD.CROSS_THRESHOLD``.

    Returns:
        Scalar.
    """

    def softened(logits: Tensor) -> Tensor:
        return F.log_softmax(logits / temperature, dim=1)

    def sure(logits: Tensor, threshold: float) -> Tensor:
        return (F.softmax(logits, dim=1).max(1).values >= threshold).to(logits.dtype)

    weak_teacher, strong_teacher = weak_teacher.detach(), strong_teacher.detach()
    weak, strong = softened(weak_student), softened(strong_student)
    weak_soft, strong_soft = softened(weak_teacher), softened(strong_teacher)
    within = divergence(weak, weak_soft) + divergence(strong, strong_soft)
    cross = divergence(strong, weak_soft) + divergence(weak, strong_soft)
    loss = (
        within_weight * (sure(weak_teacher, within_threshold) * within).mean()
        + cross_weight * (sure(strong_teacher, cross_threshold) * cross).mean()
    )
    return loss * temperature**2
