"""DTKD: each network has a temperature of its own for each image, by the size of its largest logit."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.divergence import divergence
from mdistiller_icc.losses.precision import full_precision

LEAST = 1e-3
"""The least that a largest logit counts as: a temperature has to be above 0."""


@full_precision
def dtkd_loss(logits_student: Tensor, logits_teacher: Tensor, temperature: float) -> Tensor:
    """``mean_b τ_s τ_t KL(σ(t/τ_t) ‖ σ(s/τ_s))`` with ``τ = 2T · M / (M_s + M_t)``, M a row's largest logit.

    Wei & Bai, "Dynamic Temperature Knowledge Distillation", arXiv:2404.12711, by the author's released code
    [A], whose erratum takes back the paper's eq. (4) and (5). The gradient goes through the student's
    temperatures, and a largest logit below 0.001 counts as that: our readings [R].

    Args:
        logits_student: (B, C), carries the gradient.
        logits_teacher: (B, C), taken as constant.
        temperature: T, the mean of the two; ``DTKD.TEMPERATURE``.

    Returns:
        Scalar.
    """
    teacher = logits_teacher.detach()
    largest_student = logits_student.amax(1, keepdim=True).clamp(min=LEAST)
    largest_teacher = teacher.amax(1, keepdim=True).clamp(min=LEAST)
    share = 2 * temperature / (largest_student + largest_teacher)
    tau_student, tau_teacher = share * largest_student, share * largest_teacher
    each = divergence(F.log_softmax(logits_student / tau_student, dim=1), F.log_softmax(teacher / tau_teacher, dim=1))
    return (tau_student.squeeze(1) * tau_teacher.squeeze(1) * each).mean()
