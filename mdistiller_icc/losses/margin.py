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

    >>> margin(torch.tensor([[2.0, 0.0, 1.0]]).log(), torch.tensor([0]))  # 2/3 and 1/3
    tensor([0.3333])
    """
    probability = logits.softmax(1)
    true = target.unsqueeze(1)
    best_other = probability.scatter(1, true, 0.0).amax(1)  # no probability is below 0
    return probability.gather(1, true).squeeze(1) - best_other
