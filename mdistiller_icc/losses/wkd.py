"""WKD on logits: what it costs to move the student's prediction to the teacher's, between classes that are alike.

All of Lv, Yang & Li, "Wasserstein Distance Rivals Kullback-Leibler Divergence for Knowledge
Distillation", NeurIPS 2024, arXiv:2412.08139, and the authors' released code [A], unless said otherwise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.precision import full_precision

STABLE = 1e-8


@full_precision
def linear_cka(features: Tensor) -> Tensor:
    """How alike the features of each two classes are: linear CKA, (C, C), 1 for a class with itself.

    Args:
        features: N of every class, of an image each or of a position of one, (C, N, D); number n of one class is held
            against number n of another.
    """
    centred = features - features.mean(1, keepdim=True)
    if centred.shape[1] < centred.shape[2]:  # then there is less to compute of images than of channels
        products = (centred @ centred.transpose(1, 2)).flatten(1)
        shared = products @ products.T
    else:
        shared = torch.stack([(one.T @ centred).square().sum((1, 2)) for one in centred])
    own = shared.diagonal().clamp_min(STABLE).sqrt()
    return shared / (own[:, None] * own)


@full_precision
def class_cost(similarity: Tensor, sharpness: float) -> Tensor:
    """``c_ij = 1 − exp(−κ(1 − similarity_ij))``, (C, C).

    Args:
        similarity: of each two classes, 1 for a class with itself, (C, C).
        sharpness: κ; ``WKD.KAPPA``.
    """
    return (1 - torch.exp(-sharpness * (1 - similarity))).relu() + STABLE


@full_precision
def wkd_loss(
    logits_student: Tensor,
    logits_teacher: Tensor,
    target: Tensor,
    cost: Tensor,
    temperature: float,
    regularisation: float = 0.05,
    iterations: int = 10,
) -> Tensor:
    """Cost of transport between the two predictions among the C − 1 other classes, by Sinkhorn's iteration.

    The target is a class without mass, which neither sends nor receives: one kernel (C, C) serves every image.

    Args:
        logits_student: (B, C) with C ≥ 2, carries the gradient.
        logits_teacher: (B, C), taken as constant.
        target: (B,) class numbers.
        cost: from `class_cost`, (C, C).
        temperature: T; ``WKD.TEMPERATURE``.
        regularisation: of the entropic transport; ``WKD.REGULARISATION``.
        iterations: ``WKD.ITERATIONS``.

    Returns:
        Scalar, averaged over the batch.
    """
    others = torch.ones_like(logits_teacher).scatter(1, target.reshape(-1, 1), 0.0)
    student, teacher = (_masses(z / temperature, others) for z in (logits_student, logits_teacher.detach()))
    kernel = torch.exp(-cost / regularisation)
    u = others / (others.shape[1] - 1)
    v = others
    for _ in range(iterations):
        v = teacher / (u @ kernel + STABLE)
        u = student / (v @ kernel.T + STABLE)
    return ((u @ (kernel * cost)) * v).sum(1).mean()


def _masses(logits: Tensor, others: Tensor) -> Tensor:
    """Probabilities among the other classes, 0 for the target, (B, C)."""
    lowest = torch.finfo(logits.dtype).min / 2
    return F.softmax(logits.masked_fill(others == 0, lowest), dim=1) * others
