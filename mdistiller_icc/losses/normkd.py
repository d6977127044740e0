"""NormKD: each prediction is softened by the deviation of its own logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.divergence import divergence
from mdistiller_icc.losses.precision import full_precision
from mdistiller_icc.losses.standardise import standardise


@full_precision
def normkd_loss(logits_student: Tensor, logits_teacher: Tensor, norm: float) -> Tensor:
    """``mean_b τ_t² KL(σ(t/τ_t) ‖ σ(s/τ_s))`` with ``τ = N · std_c`` of each row.

    Chi et al., "NormKD: Normalized Logits for Knowledge Distillation", arXiv:2308.00520, and the authors'
    released code [A]. Softmax does not see a shift, so σ(z/τ) is that of standardised logits over N.

    Args:
        logits_student: (B, C), carries the gradient, through its deviation too.
        logits_teacher: (B, C), taken as constant.
        norm: N; ``NORMKD.N``.

    Returns:
        Scalar.
    """
    teacher = logits_teacher.detach()
    each = divergence(
        F.log_softmax(standardise(logits_student) / norm, dim=1), F.log_softmax(standardise(teacher) / norm, dim=1)
    )
    return ((norm * teacher.std(1)).square() * each).mean()
