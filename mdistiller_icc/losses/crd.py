"""Contrastive representation distillation: one network's feature picks out its image in the other's memory."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdistiller_icc.losses.precision import full_precision

EPS = 1e-7


@full_precision
def crd_loss(feature: Tensor, memory: Tensor, candidates: Tensor, temperature: float, log_normaliser: Tensor) -> Tensor:
    """Noise-contrastive estimation: which of K + 1 candidates is the true one, as K + 1 yes-or-no questions.

    Tian, Krishnan & Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv:1910.10699, section 3.1,
    with the critic h = P / (P + K/N), P = exp(feature·memory/τ) / Z and N memorised images:

        L = −1/B Σ_i ( log h_i0 + Σ_k log(1 − h_ik) )

    Args:
        feature: (B, D) unit vectors of one network, carries the gradient (once: it has no second derivative).
        memory: (N, D) of the other network, taken as constant; may be changed once this has returned.
        candidates: (B, K + 1) row numbers, the true one first.
        temperature: τ; ``CRD.NCE.TEMPERATURE``.
        log_normaliser: log Z, scalar; see `log_normaliser`.

    Returns:
        Scalar, summed over candidates, averaged over the batch.
    """
    return _Contrast.apply(feature, memory, candidates, temperature, log_normaliser)


@torch.no_grad()
@full_precision
def log_totals(feature: Tensor, memory: Tensor, candidates: Tensor, temperature: float) -> Tensor:
    """log Σ_k exp(feature·memory_k/τ) of each image, (B,); arguments as in `crd_loss`."""
    scores, _ = _scores(feature, memory, candidates)
    return (scores / temperature).logsumexp(1)


def log_normaliser(totals: Tensor, candidates: int, num_data: int) -> Tensor:
    """log Z that makes the scores of a batch average 1/N, from its `log_totals` over K + 1 candidates each."""
    return totals.logsumexp(0) - math.log(len(totals) * candidates / num_data)


def _scores(feature: Tensor, memory: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Dot products (B, K + 1) with the candidates, and what they were read from.

    Whichever moves less: one product with the whole memory, (B, N), or the candidates' rows, (B, K + 1, D).
    """
    if 4 * len(memory) <= candidates.shape[1] * memory.shape[1]:
        source = feature @ memory.T
        return source.gather(1, candidates), source
    source = F.embedding(candidates, memory)
    return torch.einsum("bd,bkd->bk", feature, source), source


def _softplus(x: Tensor) -> Tensor:
    """log(1 + eˣ); torch's own takes five times as long on a CPU, for its log1p."""
    tail = torch.exp(-x.abs())
    shifted = 1 + tail
    # log1p(t) = log(1 + t) + what adding 1 rounded away
    return x.clamp(min=0) + shifted.log() + (tail - (shifted - 1)) / shifted


class _Contrast(torch.autograd.Function):
    """The loss and its gradient in one pass, so that nothing of the size of the scores outlives it."""

    @staticmethod
    def forward(
        ctx: Any, feature: Tensor, memory: Tensor, candidates: Tensor, temperature: float, log_normaliser: Tensor
    ) -> Tensor:
        negatives = candidates.shape[1] - 1
        noise = math.log(negatives / len(memory) + EPS)
        scores, source = _scores(feature, memory, candidates)
        odds = scores.div_(temperature).sub_(log_normaliser + noise)  # log of P / (K/N)
        cost = _softplus(odds)
        cost[:, 0] -= odds[:, 0]
        # EPS is in log(1 − h) = log(K/N) − log(P + K/N + EPS) once, and softplus has log(K/N + EPS) in both
        constant = negatives * (noise - math.log(negatives / len(memory))) if negatives else 0.0
        loss = cost.sum(1).mean() + constant
        if ctx.needs_input_grad[0]:
            weight = odds.sigmoid_()
            weight[:, 0] -= 1
            if source.dim() == 2:
                gradient = source.zero_().scatter_add_(1, candidates, weight) @ memory
            else:
                gradient = torch.einsum("bk,bkd->bd", weight, source)
            ctx.save_for_backward(gradient.div_(len(feature) * temperature))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return outer * gradient, None, None, None, None
