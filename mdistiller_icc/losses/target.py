"""Logits split into the target's and the others', for losses that treat the two apart."""

from __future__ import annotations

import torch
from torch import Tensor


def split_target(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The target's logit, (B, 1), and those of the other classes in their order, (B, C - 1).

    Args:
        logits: (B, C).
        target: (B,) class numbers.
    """
    target = target.reshape(-1, 1)
    others = torch.arange(logits.shape[1] - 1, device=logits.device)
    others = others + (others >= target)
    return logits.gather(1, target), logits.gather(1, others)


def two_way(chosen: Tensor, rest: Tensor) -> Tensor:
    """Log-probabilities of (chosen, everything else), (B, 2), from the logits (B, K) and (B, C - K)."""
    return torch.cat([chosen.logsumexp(1, keepdim=True), rest.logsumexp(1, keepdim=True)], dim=1).log_softmax(1)
