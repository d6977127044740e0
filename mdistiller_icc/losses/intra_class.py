"""The intra-class contrastive loss of ICC."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.precision import full_precision

# Below this norm a feature counts as zero: it is scaled by a constant, so its gradient stays bounded.
_NORM_FLOOR = 1e-4


@full_precision
def unit(feature: Tensor) -> Tensor:
    """Scale features to length 1 along the last axis, in float32 at least.

    Args:
        feature: ``(…, D)``; the paper's theory assumes ‖φ‖ = 1 [B], that its code normalises is our reading [R].
    """
    return F.normalize(feature, dim=-1, eps=_NORM_FLOOR)


@full_precision
def through_unit(gradient: Tensor, feature: Tensor) -> Tensor:
    """What a gradient at `unit` of ``feature`` (…, D) is at ``feature`` itself: ``(g − f (f·g)) / ‖z‖``."""
    length = feature.norm(dim=-1, keepdim=True)
    f = feature / length.clamp(min=_NORM_FLOOR)
    along = f * (f * gradient).sum(-1, keepdim=True)
    return torch.where(length < _NORM_FLOOR, gradient, gradient - along) / length.clamp(min=_NORM_FLOOR)


@full_precision
def intra_class_loss(
    anchor: Tensor, positive: Tensor, negatives: Tensor, valid: Tensor, temperature: float = 1.0
) -> Tensor:
    """Push an image away from others of its class and keep it near another view of itself, per anchor.

    ``L_Intra(x) = log(1 + Σ_{x⁻} exp((f(x)·f(x⁻) − f(x)·f(x⁺)) / τ))``, Eq. (3) of "Enriching Knowledge
    Distillation with Intra-Class Contrastive Learning" (arXiv 2509.22053) [B]; the paper reports no τ,
    so τ = 1 by default [R]. Note that samples of the same class, the positives of SupCon, are the
    negatives here. An anchor without a valid negative has a loss of exactly 0 and no gradient.

    Args:
        anchor: f(x), unit length, ``(A, D)``.
        positive: f(x⁺), the same images seen through another augmentation, ``(A, D)``.
        negatives: f(x⁻), other images of each anchor's class, ``(A, n, D)``.
        valid: which of the negatives count, bool ``(A, n)``.
        temperature: τ, ``ICC.TEMPERATURE``.

    Returns:
        The loss of every anchor, ``(A,)``, in nats.
    """
    return _exponents(anchor, positive, negatives, valid, temperature).logsumexp(1)


@full_precision
def intra_class_gradient(
    anchor: Tensor, positive: Tensor, negatives: Tensor, valid: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The gradient of each anchor's `intra_class_loss` at f(x) and at f(x⁺), in closed form, each ``(A, D)``.

    With ``w = softmax(0, (f(x)·(f(x⁻) − f(x⁺)))/τ)``: ``Σ w⁻ (f(x⁻) − f(x⁺))/τ`` and ``−Σ w⁻ f(x)/τ``. Nothing
    is walked back through a network, so it may be compiled.
    """
    share = _exponents(anchor, positive, negatives, valid, temperature).softmax(1)[:, 1:, None] / temperature
    return (share * (negatives - positive.unsqueeze(1))).sum(1), -share.sum(1) * anchor


def _exponents(anchor: Tensor, positive: Tensor, negatives: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """Those of Eq. (3), ``(A, 1 + n)``; the first is 0, since the 1 in the logarithm is exp(0)."""
    gap = ((negatives - positive.unsqueeze(1)) * anchor.unsqueeze(1)).sum(-1) / temperature
    return F.pad(gap.masked_fill(~valid, -torch.inf), (1, 0))
