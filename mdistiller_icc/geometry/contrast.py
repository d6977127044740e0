"""The two contrastive losses of a trained feature space, measured alike: within classes and between them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mdistiller_icc.losses.intra_class import intra_class_loss, scaled

ROWS = 512


class Contrast(NamedTuple):
    """Mean ``L_Intra`` and ``L_Inter`` in nats; None where no image has such a negative."""

    intra: float | None
    inter: float | None


@torch.no_grad()
def contrast(feature: Tensor, view: Tensor, target: Tensor, negatives: int = 8, seed: int = 0) -> Contrast:
    """Measure ``log(1 + Σ_{x⁻} exp(f(x)·f(x⁻) − f(x)·f(x⁺)))`` with n other images of x's class, and of other classes.

    ``L_Intra`` is ICC's Eq. (3) [B]; ``L_Inter`` is the same with negatives of other classes, as the theory's
    objective has it in our reading [R]. Both use the same n, so that they compare.

    Args:
        feature: pooled features of one augmented view, not normalised, ``(N, D)``.
        view: the same images' features under another augmentation, ``(N, D)``.
        target: ``(N,)``.
        negatives: n, drawn with replacement.
        seed: of the draw.
    """
    f, positive = scaled(feature, "cosine"), scaled(view, "cosine")
    source = torch.Generator().manual_seed(seed)
    means = []
    for same in (True, False):
        losses = []
        for rows in torch.arange(len(f)).split(ROWS):
            usable = (target[rows][:, None] == target[None, :]) == same
            usable[torch.arange(len(rows)), rows] = False
            some = usable.any(1)
            if not some.any():
                continue
            rows, usable = rows[some], usable[some]
            drawn = torch.multinomial(usable.float(), negatives, replacement=True, generator=source)
            valid = torch.ones_like(drawn, dtype=torch.bool)
            losses.append(intra_class_loss(f[rows], positive[rows], f[drawn], valid))
        means.append(torch.cat(losses).mean().item() if losses else None)
    return Contrast(*means)
