"""Overhaul of feature distillation: pre-activations, except where both networks agree on silence."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.precision import full_precision
from mdistiller_icc.losses.total import total


@full_precision
def ofd_loss(feats_student: Sequence[Tensor], feats_teacher: Sequence[Tensor], margins: Sequence[Tensor]) -> Tensor:
    """Partial squared distance to the teacher's margin-ReLU response, summed over stages.

    Heo et al., "A Comprehensive Overhaul of Feature Distillation", ICCV 2019, arXiv:1904.01866, section 3.
    The goal is the teacher's pre-activation, raised to the channel's margin; where the goal is not
    positive, a student below it has nothing to learn. The last stage has weight 1, each earlier one half
    the weight of the next. Summed over channels and positions, averaged over the batch.

    Args:
        feats_student: one map (B, C, H, W) per stage, in the teacher's channels, carries the gradient.
        feats_teacher: maps (B, C, H', W') before the ReLU, taken as constant, pooled to the student's size.
        margins: (C,) per stage, negative; see `margin`.

    Returns:
        Scalar.
    """
    losses = []
    for student, teacher, least in zip(feats_student, feats_teacher, margins, strict=True):
        teacher = F.adaptive_avg_pool2d(teacher.detach(), (student.shape[2], student.shape[3]))
        goal = torch.maximum(teacher, least[:, None, None])
        counts = (teacher > 0) | (student > goal)
        losses.append(((student - goal).square() * counts).sum() / len(student))
    return total(loss / 2**above for above, loss in enumerate(reversed(losses)))


def negative_margin(weight: Tensor, bias: Tensor) -> Tensor:
    """Expected pre-activation of each channel where it is negative, from its batch norm.

    Behind a batch norm a channel is taken as Normal(bias, weight²), as in section 3.2 of the paper:
    E[x | x < 0] = bias − σ φ(bias/σ) / Φ(−bias/σ); −3σ for a channel that is hardly ever negative.

    Args:
        weight: (C,) of the batch norm before the ReLU; σ = |weight|.
        bias: (C,) of the same.

    Returns:
        (C,), never positive, in the type of ``weight``.
    """
    mean, std = bias.detach().cpu().double(), weight.detach().cpu().double().abs()  # not every device knows float64
    ratio = mean / std
    negative = torch.special.ndtr(-ratio)  # nan for a channel that is always 0, whose margin is then -3σ = 0
    density = torch.exp(-ratio.square() / 2) / math.sqrt(2 * math.pi)
    expected = mean - std * density / negative.clamp(min=1e-3)
    return torch.where(negative > 1e-3, expected, -3 * std).to(weight)
