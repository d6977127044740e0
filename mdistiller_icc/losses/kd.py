"""Knowledge distillation: the student's softened prediction follows the teacher's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.divergence import mean_divergence
from mdistiller_icc.losses.precision import full_precision


@full_precision
def kd_loss(
    logits_student: Tensor, logits_teacher: Tensor, temperature: float | Tensor, weight: Tensor | None = None
) -> Tensor:
    """Kullback-Leibler divergence from the teacher's softened prediction to the student's, times T².

    Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531, section 2.

    Args:
        logits_student: (B, C), carries the gradient.
        logits_teacher: (B, C), taken as constant.
        temperature: T; ``KD.TEMPERATURE``. CTKD's is a tensor, and carries a gradient of its own.
        weight: of each image, (B,); 1 without it.

    Returns:
        Scalar, in nats times T², averaged over the batch.
    """
    student = F.log_softmax(logits_student / temperature, dim=1)
    teacher = F.log_softmax(logits_teacher.detach() / temperature, dim=1)
    return mean_divergence(student, teacher, weight) * temperature**2
