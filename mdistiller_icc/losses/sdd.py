"""SDD: a logit loss not only on the whole image's prediction but on those of its parts.

All of Wei, Luo & Luo, "Scale Decoupled Distillation", CVPR 2024, arXiv:2403.13512, and the authors' code [A].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.precision import full_precision


def cells(feature: Tensor, scales: Sequence[int]) -> Tensor:
    """The averages of a map over the cells of grids of m × m, (B, D, N) with N = Σ m².

    Args:
        feature: the last feature map, (B, D, h, w).
        scales: every m, ascending, the first 1: so cell 0 is the whole image. Coarse cells are averages of
            the finest grid's, which is 4 × 4 for 1, 2 and 4, whichever of them are used [A].
    """
    finest = F.adaptive_avg_pool2d(feature, 4 if scales[-1] in (1, 2) else scales[-1])
    return torch.cat([F.adaptive_avg_pool2d(finest, scale).flatten(2) for scale in scales], dim=2)


@full_precision
def sdd_loss(
    cells_student: Tensor,
    cells_teacher: Tensor,
    target: Tensor,
    loss: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """``Σ_{b,n} w · ℓ / (B · N)``; w is 2 where the teacher is right on the cell or on the whole image alone, else 1.

    Args:
        cells_student: logits of every cell, (B, C, N), carries the gradient; cell 0 is the whole image.
        cells_teacher: (B, C, N), taken as constant.
        target: (B,) class numbers.
        loss: averages w · ℓ over M rows, from both networks' logits (M, C), targets (M,) and w (M,).

    Returns:
        Scalar.
    """
    teacher = cells_teacher.detach()
    right = teacher.argmax(1) == target.reshape(-1, 1)
    weight = 1 + (right != right[:, :1]).to(teacher.dtype)
    rows = cells_student.mT.flatten(0, 1), teacher.mT.flatten(0, 1), target.repeat_interleave(teacher.shape[2])
    return loss(*rows, weight.flatten())
