"""Contrastive representation distillation: one network's feature picks out its image in the other's memory."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.precision import full_precision

EPS = 1e-7


@full_precision
def crd_loss(feature: Tensor, memory: Tensor, candidates: Tensor, temperature: float, log_normaliser: Tensor) -> Tensor:
    """Noise-contrastive estimation: which of K + 1 candidates is the true one, as K + 1 yes-or-no questions.

    Tian, Krishnan & Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv:1910.10699, section 3.1,
    with the critic h = P / (P + K/N), P = exp(feature·memory/τ) / Z and N memorised images:

        L = −1/B Σ_i ( log h_i0 + Σ_k log(1 − h_ik) )

    The authors' code [A] adds 1e-7 to every denominator.

    Args:
        feature: (B, D) unit vectors of one network, carries the gradient.
        memory: (N, D) of the other network, taken as constant; may be changed once this has returned.
        candidates: (B, K + 1) row numbers, the true one first.
        temperature: τ; ``CRD.NCE.TEMPERATURE``.
        log_normaliser: log Z, scalar; see `log_normaliser`.

    Returns:
        Scalar, summed over candidates, averaged over the batch.
    """
    negatives = candidates.shape[1] - 1
    noise = negatives / len(memory)
    scores = _scores(feature / temperature, memory, candidates)
    odds = scores - (log_normaliser + math.log(noise + EPS))  # log of P / (K/N): h is its sigmoid
    # −log(1 − h) is softplus(odds), and −log h that less the odds.
    loss = F.softplus(odds).sum(1) - odds[:, 0]
    if negatives:
        loss = loss + negatives * math.log((noise + EPS) / noise)
    return loss.mean()


@torch.no_grad()
@full_precision
def log_totals(feature: Tensor, memory: Tensor, candidates: Tensor, temperature: float) -> Tensor:
    """``log Σ_k exp(feature·memory_k/τ)`` of each image, (B,); arguments as in `crd_loss`."""
    return (_scores(feature, memory, candidates) / temperature).logsumexp(1)


def log_normaliser(totals: Tensor, candidates: int, num_data: int) -> Tensor:
    """``log Z`` that makes the scores of a batch average 1/N, a scalar.

    Args:
        totals: `log_totals` of the batch, (B,).
        candidates: K + 1, over which each was taken.
        num_data: N, how many training images there are.
    """
    return totals.logsumexp(0) - math.log(len(totals) * candidates / num_data)


def _scores(feature: Tensor, memory: Tensor, candidates: Tensor) -> Tensor:
    """Dot products (B, K + 1) with the candidates, from a copy of the memory, which is written to before the backward.

    Whichever moves less: one product with the whole memory, (B, N), or the candidates' rows, (B, K + 1, D).
    """
    memory = memory.detach()
    if 4 * len(memory) <= candidates.shape[1] * memory.shape[1]:
        return (feature @ memory.clone().T).gather(1, candidates)
    return torch.einsum("bd,bkd->bk", feature, F.embedding(candidates, memory))
