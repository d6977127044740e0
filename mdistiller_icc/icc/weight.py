"""The weight λ of ICC's loss: fixed, or set so that its gradient keeps a given share of cross-entropy's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdistiller_icc.losses.precision import widened


class FixedWeight(nn.Module):
    """λ as the paper has it: a number between 0.01 and 0.03, tuned per data set [B]."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(float(weight)), persistent=False)

    def forward(self, norms: Tensor | None = None) -> Tensor:
        return self.value


def gradient_norms(loss_ce: Tensor, loss_intra: Tensor, feature: Tensor) -> Tensor:
    """The norms of ``∂L_CE/∂z`` and ``∂L_Intra/∂z`` over the whole batch of features z, ``(2,)``, float32 at least.

    Only the way from the losses back to z is walked, which is the classifier. A loss that z has no part in has norm 0.
    """
    norms = []
    for loss in (loss_ce, loss_intra):
        (gradient,) = torch.autograd.grad(loss, feature, retain_graph=True, allow_unused=True)
        norms.append(widened(feature.detach()).new_zeros(()) if gradient is None else widened(gradient).norm())
    return torch.stack(norms)


class GradNormWeight(nn.Module):
    """λ such that ``‖∂(λ·L_Intra)/∂z‖ = share · ‖∂L_CE/∂z‖`` at the pooled feature z, on running averages.

    Our answer [R] to the limitation the paper names, that λ must be tuned per data set. Steps without an anchor
    leave the averages as they are. Nothing is read back from the device.

    Args:
        share: the wanted ratio of the two gradients' norms, ``ICC.GRADNORM.SHARE``.
        momentum: of the running averages, ``ICC.GRADNORM.MOMENTUM``.
        maximum: λ never exceeds it, ``ICC.GRADNORM.MAX``.
    """

    norms: Tensor
    value: Tensor

    def __init__(self, share: float, momentum: float, maximum: float) -> None:
        super().__init__()
        self.share, self.momentum, self.maximum = share, momentum, maximum
        self.register_buffer("norms", torch.zeros(2))
        self.register_buffer("value", torch.zeros(()))

    def forward(self, norms: Tensor) -> Tensor:
        """λ for this step, given its `gradient_norms`."""
        now = norms.to(self.norms.dtype)
        blended = torch.where(self.norms > 0, self.momentum * self.norms + (1 - self.momentum) * now, now)
        self.norms.copy_(torch.where((now > 0).all(), blended, self.norms))
        ce, intra = self.norms
        weight = (self.share * ce / intra.clamp(min=torch.finfo(intra.dtype).tiny)).clamp(max=self.maximum)
        self.value.copy_(torch.where(intra > 0, weight, torch.zeros_like(weight)))
        return self.value.clone()
