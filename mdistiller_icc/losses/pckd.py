"""PCKD: align features and class centres, and contrast the samples' relations to those centres.

All of Ding et al., "Preview-based Category Contrastive Learning for Knowledge Distillation",
arXiv:2410.14143 (IEEE TCSVT 2025), and of the authors' released code [A] unless said otherwise.
A class's centre is its row of the classifier's weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.precision import full_precision


@full_precision
def previewed_kd_loss(logits_student: Tensor, logits_teacher: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """``mean(v · L_KD)``: the divergence from the teacher's softened prediction, weighted per sample, times T².

    Args:
        logits_student: (B, C) of the un-rotated images, carries the gradient.
        logits_teacher: (B, C), taken as constant.
        weight: preview weight v, (B,).
        temperature: T; ``PCKD.TEMPERATURE``.

    Returns:
        Scalar, in nats times T².
    """
    student = F.log_softmax(logits_student / temperature, dim=1)
    teacher = F.log_softmax(logits_teacher.detach() / temperature, dim=1)
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(1)
    return (weight * divergence).mean() * temperature**2


@full_precision
def feature_alignment_loss(projected_student: Tensor, feature_teacher: Tensor) -> Tensor:
    """``L_FA = 2 − 2 · mean cos(MLP(z^s), z^t)``.

    Args:
        projected_student: MLP(z^s), (N, d_t), carries the gradient.
        feature_teacher: z^t, (N, d_t), taken as constant.

    Returns:
        Scalar between 0 and 4.
    """
    return 2 - 2 * F.cosine_similarity(projected_student, feature_teacher.detach(), dim=1).mean()


@full_precision
def center_alignment_loss(center_student: Tensor, center_teacher: Tensor) -> Tensor:
    """``L_CA``: mean squared difference of ``[W_s|b_s]`` and ``[W_t|b_t]``; 0 where their shapes differ.

    Args:
        center_student: (C, d_s + 1), carries the gradient.
        center_teacher: (C, d_t + 1), taken as constant.

    Returns:
        Scalar.
    """
    if center_student.shape != center_teacher.shape:
        return center_student.new_zeros(())
    return F.mse_loss(center_student, center_teacher.detach())


@full_precision
def category_contrastive_loss(
    relation: Tensor,
    target: Tensor,
    weight: Tensor,
    temperature: float = 4.0,
    base_temperature: float = 0.07,
) -> Tensor:
    """``mean(v · L_CC)``: supervised contrast of relation vectors, every other one of the class a positive.

    ``ℓ_i = −(τ/τ₀) · mean_{j ∈ P(i)} log [exp(r_i·r_j/τ) / Σ_{k≠i} exp(r_i·r_k/τ)]`` on plain dot
    products; r holds ``u = W_s·norm(E_s z^s)`` and ``v = W_t·norm(E_t z^s)`` of every view.

    Args:
        relation: r, (N, C), carries the gradient.
        target: (N,) class numbers.
        weight: preview weight of each vector's image, (N,).
        temperature: τ; ``PCKD.CONTRAST.TEMPERATURE``.
        base_temperature: τ₀; ``PCKD.CONTRAST.BASE_TEMPERATURE``.

    Returns:
        Scalar; a vector without a positive adds exactly 0.
    """
    itself = torch.eye(len(relation), dtype=torch.bool, device=relation.device)
    positive = (target.unsqueeze(1) == target.unsqueeze(0)) & ~itself
    similarity = relation @ relation.T / temperature
    # The lowest finite number, not −inf, keeps the share of a lone vector, which has no rivals, finite.
    rivals = similarity.masked_fill(itself, torch.finfo(similarity.dtype).min)
    log_share = similarity - rivals.logsumexp(1, keepdim=True)
    score = torch.where(positive, log_share, 0).sum(1) / positive.sum(1).clamp(min=1)
    return -(temperature / base_temperature) * (weight * score).mean()
