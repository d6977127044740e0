"""TTM and WTTM: the teacher's prediction is flattened, the student's is left as it is."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.divergence import divergence
from mdistiller_icc.losses.precision import full_precision


@full_precision
def ttm_loss(logits_student: Tensor, logits_teacher: Tensor, exponent: float, weighted: bool = False) -> Tensor:
    """``mean_b KL(q ‖ p_s)`` with ``q = p_t^γ / U`` and ``U = Σ_c p_t^γ``; weighted, ``mean_b U · KL(q ‖ p_s)``.

    Zheng & Yang, "Knowledge Distillation Based on Transformed Teacher Matching", ICLR 2024,
    arXiv:2402.11148, and the authors' released code [A]. q is the teacher's prediction at T = 1/γ; the
    student's stays at T = 1, and there is no factor T². U is large where the teacher is unsure.

    Args:
        logits_student: (B, C), carries the gradient.
        logits_teacher: (B, C), taken as constant.
        exponent: γ; ``TTM.GAMMA``, ``WTTM.GAMMA``.
        weighted: WTTM instead of TTM.

    Returns:
        Scalar, in nats.
    """
    power = exponent * F.log_softmax(logits_teacher.detach(), dim=1)
    each = divergence(F.log_softmax(logits_student, dim=1), F.log_softmax(power, dim=1))
    return (power.logsumexp(1).exp() * each).mean() if weighted else each.mean()
