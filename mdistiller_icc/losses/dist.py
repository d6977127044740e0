"""DIST: predictions correlate with the teacher's, image by image and class by class."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.direction import divisor
from mdistiller_icc.losses.precision import full_precision


@full_precision
def dist_loss(
    logits_student: Tensor, logits_teacher: Tensor, temperature: float, inter_weight: float, intra_weight: float
) -> Tensor:
    """``β · inter + γ · intra``, times τ²: how far the Pearson correlations of rows and of columns are from 1.

    Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, arXiv:2205.10536, and the
    authors' released code [A].

    Args:
        logits_student: (B, C), carries the gradient.
        logits_teacher: (B, C), taken as constant.
        temperature: τ of both softmaxes; ``DIST.TEMPERATURE``.
        inter_weight: β, of the rows; ``DIST.BETA``.
        intra_weight: γ, of the columns; ``DIST.GAMMA``.

    Returns:
        Scalar. A row or column without variation correlates with nothing.
    """
    student = F.softmax(logits_student / temperature, dim=1)
    teacher = F.softmax(logits_teacher.detach() / temperature, dim=1)
    inter = 1 - _correlation(student, teacher, dim=1).mean()
    intra = 1 - _correlation(student, teacher, dim=0).mean()
    return (inter_weight * inter + intra_weight * intra) * temperature**2


def _correlation(a: Tensor, b: Tensor, dim: int) -> Tensor:
    (a, length_a), (b, length_b) = _deviations(a, dim), _deviations(b, dim)
    correlation: Tensor = (a * b).sum(dim) / (length_a * length_b + 1e-8)
    return correlation


def _deviations(probability: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    centred = probability - probability.mean(dim, keepdim=True)
    return centred, divisor(centred.norm(dim=dim), probability.detach().norm(dim=dim))
