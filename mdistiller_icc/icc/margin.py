"""The margin gate of ICC: only samples the teacher already classifies well spread their class."""

from __future__ import annotations

from mdistiller_icc.losses.arrays import Array, library, positions, softmax
from mdistiller_icc.losses.precision import full_precision


@full_precision
def margin(logits: Array, target: Array) -> Array:
    """How far the true class's probability stands above the best other one, ``ρ = p_y − max_{i≠y} p_i``.

    Definition 3.1 of ICC (arXiv 2509.22053) [B]. With a single class there is no other one and ρ = p_y = 1.

    Args:
        logits: ``(B, C)``.
        target: class indices, ``(B,)``.

    Returns:
        ρ in [−1, 1], float32 at least, ``(B,)``.
    """
    probability, row = softmax(logits), positions(target)
    own = probability[row, target]
    probability[row, target] = 0.0  # no probability is below it
    return own - library(probability).amax(probability, axis=1)
