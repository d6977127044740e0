"""The weight λ of ICC's loss: fixed, or set so that its gradient keeps a given share of cross-entropy's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdistiller_icc.losses.precision import widened

MOMENTUM = 0.99
"""Of the running averages of `GradNormWeight`."""
MAXIMUM = 1.0
"""The largest λ that `GradNormWeight` chooses."""


@torch.no_grad()
def cross_entropy_pull(logits: Tensor, target: Tensor, classifier: Tensor | None) -> Tensor:
    """How strongly cross-entropy pulls at the feature z of one sample: the batch's mean of ``‖∂ℓ_CE/∂z‖``.

    Under a linear classifier it is ``‖(p − y) W‖``.

    Args:
        logits: ``(B, C)``.
        target: ``(B,)``.
        classifier: W, ``(C, D)``; None where z is the logits themselves.
    """
    gradient = widened(logits).softmax(1)
    gradient.scatter_add_(1, target.unsqueeze(1), gradient.new_full((len(target), 1), -1.0))
    pull: Tensor = (gradient if classifier is None else gradient @ widened(classifier)).norm(dim=1).mean()
    return pull


def intra_class_pull(each: Tensor, feature: Tensor, anchors: Tensor) -> Tensor:
    """How strongly the L_Intra of one anchor pulls at the features: the anchors' mean of ``‖∂L_Intra(x)/∂z‖``.

    Per anchor, so that it says the same whether a step has few anchors or many. 0 for a step without any. Across
    processes: this one's part of the mean.

    Args:
        each: L_Intra of every anchor, ``(A,)``, with its graph, which is kept.
        feature: z, ``(B + V, D)``.
        anchors: how many of the A, of all processes, have a negative, scalar.
    """
    (gradient,) = torch.autograd.grad(each.sum(), feature, retain_graph=True)
    pull: Tensor = widened(gradient).norm(dim=1).sum() / anchors.clamp(min=1)
    return pull


class FixedWeight(nn.Module):
    """λ as the paper has it: a number between 0.01 and 0.03, tuned per data set [B]."""

    value: Tensor

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(float(weight)), persistent=False)

    def forward(self, pulls: Tensor | None) -> Tensor:
        return self.value


class GradNormWeight(nn.Module):
    """λ such that an anchor's ``‖λ ∂L_Intra(x)/∂z‖`` is ``share`` times a sample's ``‖∂ℓ_CE/∂z‖``, on running averages.

    Our answer [R] to the limitation the paper names, that λ must be tuned per data set. Steps without an anchor
    leave the averages as they are. Nothing is read back from the device.

    Args:
        share: the wanted ratio of the two pulls, ``ICC.GRADNORM.SHARE``.
    """

    pulls: Tensor
    value: Tensor

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.register_buffer("pulls", torch.zeros(2))
        self.register_buffer("value", torch.zeros(()))

    def forward(self, pulls: Tensor | None) -> Tensor:
        """λ for this step, given how strongly L_CE and L_Intra pull, ``(2,)``."""
        assert pulls is not None
        blended = torch.where(self.pulls > 0, MOMENTUM * self.pulls + (1 - MOMENTUM) * pulls, pulls)
        self.pulls.copy_(torch.where((pulls > 0).all(), blended, self.pulls))
        of_ce, of_intra = self.pulls
        weight = (self.share * of_ce / of_intra.clamp(min=torch.finfo(of_intra.dtype).tiny)).clamp(max=MAXIMUM)
        self.value.copy_(torch.where(of_intra > 0, weight, 0.0))
        return self.value.clone()
