"""The intra-class contrastive loss of ICC."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.precision import full_precision


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
        anchor: f(x), ``(A, D)``: features as they are, or of length 1 (`scaled` makes either).
        positive: f(x⁺), the same images seen through another augmentation, ``(A, D)``.
        negatives: f(x⁻), other images of each anchor's class, ``(A, n, D)``.
        valid: which of the negatives count, bool ``(A, n)``.
        temperature: τ, ``ICC.TEMPERATURE``.

    Returns:
        The loss of every anchor, ``(A,)``, in nats, float32 at least.

    >>> x, other_view, classmate = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.0, 1.0]]])
    >>> intra_class_loss(x, other_view, classmate, torch.tensor([[True]]))  # log(1 + exp(0 − 1))
    tensor([0.3133])
    """
    to_positive = (anchor * positive).sum(-1, keepdim=True)
    to_negatives = (anchor.unsqueeze(1) * negatives).sum(-1)
    exponents = ((to_negatives - to_positive) / temperature).masked_fill(~valid, -torch.inf)
    return F.pad(exponents, (1, 0)).logsumexp(1)  # the 1 in the logarithm is exp(0)


@full_precision
def scaled(feature: Tensor, similarity: str) -> Tensor:
    """The features f whose dot products are the similarities of Eq. (3).

    Args:
        feature: z, ``(…, D)``.
        similarity: ``"dot"``: f = z, as Eq. (3) is written [R]; ``"cosine"``: f = z / ‖z‖, as the paper's theory
            assumes [B]. ``ICC.SIMILARITY``.

    Returns:
        f, ``(…, D)``, float32 at least.

    Raises:
        ValueError: there is no such similarity.
    """
    if similarity == "dot":
        return feature
    if similarity == "cosine":
        return F.normalize(feature, dim=-1, eps=1e-4)  # a shorter feature counts as zero, so its gradient is bounded
    raise ValueError(f"similarity is dot or cosine, not {similarity!r}")
