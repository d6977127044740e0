"""RLD: what a teacher that is wrong believes in first is not passed on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.divergence import divergence
from mdistiller_icc.losses.precision import full_precision
from mdistiller_icc.losses.target import split_target, two_way


@full_precision
def rld_loss(
    logits_student: Tensor,
    logits_teacher: Tensor,
    target: Tensor,
    alpha: float,
    beta: float,
    temperature: float,
    sample_temperature: float,
) -> Tensor:
    """``α · SCD + β · MCD``, each times the square of its temperature.

    SCD compares how sure the networks are: the student of the label, the teacher of its first class,
    whichever that is. MCD compares the predictions among the classes that the teacher ranks below the
    label. Sun et al., "Knowledge Distillation with Refined Logits", arXiv:2408.07703, and the authors'
    released code [A].

    Args:
        logits_student: (B, C) with C ≥ 2, carries the gradient.
        logits_teacher: (B, C), taken as constant.
        target: (B,) class numbers.
        alpha: weight of SCD; ``RLD.ALPHA``.
        beta: weight of MCD; ``RLD.BETA``.
        temperature: T of MCD; ``RLD.TEMPERATURE``.
        sample_temperature: T of SCD; ``RLD.SAMPLE_TEMPERATURE``.

    Returns:
        Scalar; an image whose label the teacher ranks last adds nothing to MCD.
    """
    teacher = logits_teacher.detach()
    sure_student = two_way(*split_target(logits_student / sample_temperature, target))
    sure_teacher = two_way(*split_target(teacher / sample_temperature, teacher.argmax(1)))
    scd = divergence(sure_student, sure_teacher).mean() * sample_temperature**2

    below = teacher < teacher.gather(1, target.reshape(-1, 1))
    ranked = _among(below, logits_student / temperature), _among(below, teacher / temperature)
    mcd = divergence(*ranked).mean() * temperature**2
    return alpha * scd + beta * mcd


def _among(kept: Tensor, logits: Tensor) -> Tensor:
    """Log-probabilities among the kept classes; all alike where none is kept."""
    lowest = torch.finfo(logits.dtype).min / 2  # not −∞: the others' share of the divergence is 0 · 0
    return F.log_softmax(logits.masked_fill(~kept, lowest), dim=1)
