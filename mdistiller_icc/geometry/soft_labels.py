"""What a teacher's soft labels ``p = softmax(o/T)`` tell beyond the class."""

from __future__ import annotations

from torch import Tensor

from mdistiller_icc.geometry.classes import class_means


def entropy(logits: Tensor, temperature: float) -> float:
    """Return the mean entropy ``−Σ_i p_i log p_i`` of the soft labels of ``logits`` (N, C), in nats.

    It lies in [0, log C]; a hard label has none.
    """
    log_probability = (logits.double() / temperature).log_softmax(1)
    return -(log_probability.exp() * log_probability).sum(1).mean().item()


def within_class_share(logits: Tensor, target: Tensor, temperature: float) -> float | None:
    """Return the share of the soft labels' variance that lies within classes: what the label alone cannot tell.

    With ``p_i = softmax(o_i/T)``, ``p̄_c`` their mean over class c and ``p̄`` over all samples::

        within  = Σ_i ‖p_i − p̄_{y_i}‖²        between = Σ_c n_c ‖p̄_c − p̄‖²
        share   = within / (within + between)

    Args:
        logits: ``o`` (N, C).
        target: ``y`` (N,).
        temperature: T.

    Returns:
        The share in [0, 1]; None where all soft labels are the same.
    """
    probability = (logits.double() / temperature).softmax(1)
    means, count = class_means(probability, target, logits.shape[1])
    within = (probability - means[target]).square().sum()
    between = (count * (means - probability.mean(0)).square().sum(1)).sum()
    if within + between <= 1e-24 * len(target):  # squared float64 rounding of probabilities
        return None
    return (within / (within + between)).item()
