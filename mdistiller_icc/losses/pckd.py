"""PCKD: align features and class centres, and contrast the samples' relations to those centres.

All of Ding et al., "Preview-based Category Contrastive Learning for Knowledge Distillation",
arXiv:2410.14143 (IEEE TCSVT 2025), and of the authors' released code [A] unless said otherwise.
A class's centre is its row of the classifier's weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.direction import direction
from mdistiller_icc.losses.precision import full_precision


@full_precision
def feature_alignment_loss(projected_student: Tensor, feature_teacher: Tensor) -> Tensor:
    """``L_FA = 2 − 2 · mean cos(MLP(z^s), z^t)``.

    Args:
        projected_student: MLP(z^s), (N, d_t), carries the gradient.
        feature_teacher: z^t, (N, d_t), taken as constant.

    Returns:
        Scalar between 0 and 4.
    """
    cosine = (direction(projected_student, 1) * direction(feature_teacher.detach(), 1)).sum(1)
    return 2 - 2 * cosine.mean()


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
    own: Tensor,
    others: Tensor,
    target: Tensor,
    weight: Tensor,
    temperature: float = 4.0,
    base_temperature: float = 0.07,
) -> Tensor:
    """``mean(v · L_CC)``: supervised contrast of relation vectors, every other one of the class a positive.

    Each view has two, ``u = W_s·norm(E_s z^s)`` and ``v = W_t·norm(E_t z^s)``, and all 2N are contrasted together
    on plain dot products:

        ℓ(r_i) = −(τ/τ₀) · mean_{j ∈ P(i)} log [exp(r_i·r_j/τ) / Σ_{k≠i} exp(r_i·r_k/τ)]

    A view's ``L_CC`` is ``ℓ(u) + ℓ(v)``, the sum, as the authors' released code computes it [A]. Their 1e-7
    inside the logarithm, a guard against rounding, is left out.

    Args:
        own: u of every view, (N, C), carries the gradient.
        others: v of every view, (N, C), carries the gradient.
        target: (N,) class numbers.
        weight: preview weight of each view's image, (N,), taken as constant.
        temperature: τ; ``PCKD.CONTRAST.TEMPERATURE``.
        base_temperature: τ₀; ``PCKD.CONTRAST.BASE_TEMPERATURE``.

    Returns:
        Scalar, averaged over the N views.
    """
    relation, label = torch.cat([own, others]), target.repeat(2)
    itself = torch.eye(len(relation), dtype=torch.bool, device=relation.device)
    positive = (label.unsqueeze(1) == label.unsqueeze(0)) & ~itself  # at least the view's other vector
    similarity = relation @ relation.T / temperature
    log_share = similarity - similarity.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    each = -(temperature / base_temperature) * (positive * log_share).sum(1) / positive.sum(1)
    loss_own, loss_others = each.chunk(2)
    return (weight.detach() * (loss_own + loss_others)).mean()
