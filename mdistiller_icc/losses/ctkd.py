"""CTKD: a temperature that is learnt against the student, more and more.

All of Li et al., "Curriculum Temperature for Knowledge Distillation", AAAI 2023, arXiv:2211.16231, and the
authors' released code [A].
"""

from __future__ import annotations

import math

from torch import Tensor


def curriculum(epoch: int, epochs: int) -> float:
    """λ, by which the temperature's gradient is multiplied: from 0 to −1 along a cosine, then −1.

    Args:
        epoch: counted from 1; λ is 0 at epoch 0.
        epochs: at which it is −1; 0 epochs mean from the start.

    >>> [round(curriculum(epoch, 2), 3) for epoch in (0, 1, 2, 3)]
    [-0.0, -0.5, -1.0, -1.0]
    """
    done = min(epoch / epochs, 1.0) if epochs > 0 else 1.0
    return -0.5 * (1 - math.cos(math.pi * done))


def curriculum_temperature(theta: Tensor, factor: float, start: float, span: float) -> Tensor:
    """``T = start + span · sigmoid(θ)``, whose gradient reaches θ times λ.

    With λ below 0 a step down the loss moves θ up it.

    Args:
        theta: θ, a scalar that is learnt.
        factor: λ, from `curriculum`.
        start: the least T; ``CTKD.T_START``.
        span: how far above that T can rise; ``CTKD.T_END``.

    Returns:
        T, shaped like θ.
    """
    held = theta.detach()
    return start + span * (held + factor * (theta - held)).sigmoid()
