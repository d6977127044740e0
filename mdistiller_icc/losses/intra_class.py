"""The intra-class contrastive loss of ICC, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdistiller_icc.losses.arrays import Array, library
from mdistiller_icc.losses.precision import full_precision

# Below this norm a feature counts as zero: it is scaled by a constant, so its gradient stays bounded.
_NORM_FLOOR = 1e-4


@full_precision
def unit(feature: Array) -> Array:
    """Scale features to length 1 along the last axis, in float32 at least.

    Args:
        feature: ``(…, D)``; the paper's theory assumes ‖φ‖ = 1 [B], that its code normalises is our reading [R].
    """
    return feature / _length(feature).clip(min=_NORM_FLOOR)


@full_precision
def through_unit(gradient: Array, feature: Array) -> Array:
    """What a gradient at `unit` of ``feature`` (…, D) is at ``feature`` itself: ``(g − f (f·g)) / ‖z‖``."""
    length = _length(feature)
    floored = length.clip(min=_NORM_FLOOR)
    f = feature / floored
    along = f * (f * gradient).sum(-1)[..., None]
    return library(feature).where(length < _NORM_FLOOR, gradient, gradient - along) / floored


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
    # The 1 in the logarithm is exp(0).
    return F.pad(_exponents(anchor, positive, negatives, valid, temperature), (1, 0)).logsumexp(1)


@full_precision
def intra_class_gradient(
    anchor: Array, positive: Array, negatives: Array, valid: Array, temperature: float = 1.0
) -> tuple[Array, Array, Array]:
    """Each anchor's `intra_class_loss` ``(A,)`` and its gradient at f(x) and at f(x⁺), each ``(A, D)``, in closed form.

    With ``w⁻ = exp((f(x)·(f(x⁻) − f(x⁺)))/τ − L_Intra(x))``: ``Σ w⁻ (f(x⁻) − f(x⁺))/τ`` and ``−Σ w⁻ f(x)/τ``.
    """
    xp = library(anchor)
    exponents = _exponents(anchor, positive, negatives, valid, temperature)
    largest = xp.amax(exponents, axis=1).clip(min=0.0)
    loss = largest + xp.log(xp.exp(-largest) + xp.exp(exponents - largest[:, None]).sum(1))
    share = xp.exp(exponents - loss[:, None])[..., None] / temperature
    return loss, (share * (negatives - positive[:, None])).sum(1), -share.sum(1) * anchor


def known_gradient(feature: Tensor, loss: Array, gradient: Array) -> Tensor:
    """A loss that was worked out together with its gradient at ``feature``, for autograd to go on from there.

    Args:
        feature: with a graph behind it, any shape.
        loss: a single number; the result has the gradient's type, which older NumPy's scalars do not keep.
        gradient: of the loss at ``feature``, of its shape.
    """
    gradient = torch.as_tensor(gradient)
    return _KnownGradient.apply(feature, torch.as_tensor(loss, dtype=gradient.dtype), gradient)


class _KnownGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, feature: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        ctx.dtype = feature.dtype
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        # In this order: float16 would lose a small gradient before a gradient scaler's factor could lift it.
        return (gradient * factor).to(ctx.dtype), None, None


def _length(feature: Array) -> Array:
    if isinstance(feature, Tensor):
        return feature.norm(dim=-1, keepdim=True)
    return np.sqrt((feature * feature).sum(-1, keepdims=True))


def _exponents(anchor: Array, positive: Array, negatives: Array, valid: Array, temperature: float) -> Array:
    """Those of Eq. (3), ``(A, n)``."""
    gap = ((negatives - positive[:, None]) * anchor[:, None]).sum(-1) / temperature
    return library(anchor).where(valid, gap, -torch.inf)
