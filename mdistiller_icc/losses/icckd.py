"""The student's objective of ICC: cross-entropy against the soft labels of an enriched teacher."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.precision import full_precision


@full_precision
def soft_cross_entropy(logits_student: Tensor, logits_teacher: Tensor, temperature: float) -> Tensor:
    """``CE(p^t, p^s)``: cross-entropy of the softened student prediction under the teacher's, times T².

    The second term of ``L_KD = α · CE(y, p^s) + (1−α) · CE(p^t, p^s)``, "Enriching Knowledge Distillation
    with Intra-Class Contrastive Learning", arXiv:2509.22053 [B]. A temperature and the factor T² are our
    reading [R]. It is the teacher's entropy above the Kullback-Leibler divergence of `kd_loss`, so their
    gradients are the same.

    Args:
        logits_student: (B, C), carries the gradient.
        logits_teacher: (B, C), taken as constant.
        temperature: T; ``ICCKD.TEMPERATURE``.

    Returns:
        Scalar, in nats times T², averaged over the batch.
    """
    soft_label = F.softmax(logits_teacher.detach() / temperature, dim=1)
    return F.cross_entropy(logits_student / temperature, soft_label) * temperature**2
