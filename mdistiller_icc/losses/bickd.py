"""BicKD: the two predictions agree sample by sample (rows) and class by class (columns)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.precision import full_precision


@full_precision
def sample_contrastive_loss(
    logits_student: Tensor,
    logits_teacher: Tensor,
    target: Tensor,
    temperature: float = 4.0,
    pull_weight: float = 1.0,
    push_weight: float = 1.0,
) -> Tensor:
    """``L_SC``: pull a sample's two predictions together, push those of different classes to orthogonality.

    ``pull · mean_i (1 − cos(s_i, t_i)) + push · mean_{y_i ≠ y_j} cos(s_i, t_j)``, s and t the softened
    predictions (rows of S and T). "BicKD: Bilateral Contrastive Knowledge Distillation", arXiv:2602.01265:
    that rows are compared by cosine, pulled and pushed, is reported [B]; this formula and its weights
    are our reading [R].

    Args:
        logits_student: (B, C), carries the gradient.
        logits_teacher: (B, C), taken as constant.
        target: (B,) class numbers.
        temperature: τ of both softmaxes; ``BICKD.TEMPERATURE``.
        pull_weight: ``BICKD.LOSS.SC_PULL_WEIGHT``.
        push_weight: ``BICKD.LOSS.SC_PUSH_WEIGHT``.

    Returns:
        Scalar; the push is exactly 0 where all samples are of one class.
    """
    cosine = _cosine(logits_student, logits_teacher, temperature, dim=1)
    different = target.unsqueeze(1) != target.unsqueeze(0)
    pull = (1 - cosine.diagonal()).mean()
    push = (cosine * different).sum() / different.sum().clamp(min=1)
    return pull_weight * pull + push_weight * push


@full_precision
def class_contrastive_loss(
    logits_student: Tensor,
    logits_teacher: Tensor,
    temperature: float = 4.0,
    pull_weight: float = 1.0,
    push_weight: float = 1.0,
) -> Tensor:
    """``L_CC``: align each class's column of predictions, push columns of different classes to orthogonality.

    ``pull · mean_c ‖s^c − t^c‖₁ + push · 1/(C(C−1)) Σ_{c≠c'} cos(s^c, t^{c'})``, s^c and t^c the columns
    of the softened predictions. arXiv:2602.01265: the L1 distance and the C(C−1) ordered pairs ("L_coa")
    are reported [B]; this formula and its weights are our reading [R]. The L1 distance sums over the
    batch, so it grows with B; the published batch is 256 [B].

    Args:
        logits_student: (B, C), carries the gradient.
        logits_teacher: (B, C), taken as constant.
        temperature: τ of both softmaxes; ``BICKD.TEMPERATURE``.
        pull_weight: ``BICKD.LOSS.CC_PULL_WEIGHT``.
        push_weight: ``BICKD.LOSS.CC_PUSH_WEIGHT``.

    Returns:
        Scalar; a column that underflowed to zero counts as orthogonal to every other, never as NaN.
    """
    classes = logits_student.shape[1]
    student, teacher = _soften(logits_student, logits_teacher, temperature)
    cosine = _cosine(logits_student, logits_teacher, temperature, dim=0)
    other = ~torch.eye(classes, dtype=torch.bool, device=cosine.device)
    pull = (student - teacher).abs().sum(0).mean()
    push = (cosine * other).sum() / max(classes * (classes - 1), 1)
    return pull_weight * pull + push_weight * push


def _soften(logits_student: Tensor, logits_teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    return F.softmax(logits_student / temperature, dim=1), F.softmax(logits_teacher.detach() / temperature, dim=1)


def _cosine(logits_student: Tensor, logits_teacher: Tensor, temperature: float, dim: int) -> Tensor:
    """Cosines of all pairs (student vector, teacher vector), vectors lying along ``dim``."""
    student, teacher = _soften(logits_student, logits_teacher, temperature)
    # normalize divides by at least 1e-12, so a column of zeros stays zero.
    student, teacher = F.normalize(student, dim=dim), F.normalize(teacher, dim=dim)
    return student @ teacher.T if dim == 1 else student.T @ teacher
