"""The margin gate of ICC: only samples the teacher already classifies well spread their class."""

from __future__ import annotations

from torch import Tensor

from mdistiller_icc.losses.precision import full_precision


@full_precision
def margin(logits: Tensor, target: Tensor) -> Tensor:
    """How far the true class's probability stands above the best other one, ``ρ = p_y − max_{i≠y} p_i``.

    Definition 3.1 of ICC (arXiv 2509.22053) [B]. With a single class there is no other one and ρ = p_y = 1.

    Args:
        logits: ``(B, C)``.
        target: class indices, ``(B,)``.

    Returns:
        ρ in [−1, 1], float32 at least, ``(B,)``.
    """
    probability = logits.softmax(1)
    own = probability.gather(1, target[:, None]).squeeze(1)
    other = probability.scatter(1, target[:, None], 0.0).amax(1)  # probabilities are never below 0
    return own - other
