"""The weight λ of ICC's loss: fixed, or set so that its gradient keeps a given share of cross-entropy's."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FixedWeight(nn.Module):
    """λ as the paper has it: a number between 0.01 and 0.03, tuned per data set [B]."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(float(weight)), persistent=False)

    def forward(self, loss_ce: Tensor, loss_intra: Tensor, feature: Tensor) -> Tensor:
        return self.value


class GradNormWeight(nn.Module):
    """λ such that ``‖∂(λ·L_Intra)/∂z‖ = share · ‖∂L_CE/∂z‖`` at the pooled feature z, on running averages.

    Our answer [R] to the limitation the paper names, that λ must be tuned per data set. Both norms are taken
    over the whole batch; steps without an anchor leave the averages as they are. Nothing is read back
    from the device.

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
        self.register_buffer("norms", torch.zeros(2))  # of the gradients of L_CE and of L_Intra
        self.register_buffer("value", torch.zeros(()))

    def forward(self, loss_ce: Tensor, loss_intra: Tensor, feature: Tensor) -> Tensor:
        gradients = [
            torch.autograd.grad(loss, feature, retain_graph=True, allow_unused=True)[0]
            for loss in (loss_ce, loss_intra)
        ]
        now = torch.stack(
            [feature.new_zeros(()).float() if g is None else torch.linalg.vector_norm(g.float()) for g in gradients]
        ).to(self.norms.dtype)
        blended = torch.where(self.norms > 0, self.momentum * self.norms + (1 - self.momentum) * now, now)
        self.norms.copy_(torch.where((now > 0).all(), blended, self.norms))
        ce, intra = self.norms
        weight = self.share * ce / intra.clamp(min=torch.finfo(intra.dtype).tiny)
        self.value.copy_(torch.where(intra > 0, weight.clamp(max=self.maximum), torch.zeros_like(weight)))
        return self.value.clone()
