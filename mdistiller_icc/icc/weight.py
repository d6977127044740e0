"""The weight λ of ICC's loss: fixed, or set so that its gradient keeps a given share of cross-entropy's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdistiller_icc.losses.arrays import Array, alike, library, positions, softmax
from mdistiller_icc.losses.precision import widened


class FixedWeight(nn.Module):
    """λ as the paper has it: a number between 0.01 and 0.03, tuned per data set [B]."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(float(weight)), persistent=False)

    def forward(self) -> Tensor:
        return self.value


def cross_entropy_gradient(logits: Array, target: Array, classifier: Array | None) -> Array:
    """``∂L_CE/∂z`` of the mean cross-entropy at the feature z under a linear classifier, in closed form.

    ``(p − y) W / B``. Nothing is walked back through the network, so it may be compiled.

    Args:
        logits: ``(B, C)``.
        target: ``(B,)``.
        classifier: W, ``(C, D)``; None for the gradient at the logits themselves.

    Returns:
        ``(B, D)``, or ``(B, C)``; float32 at least.
    """
    gradient = softmax(logits)
    gradient[positions(logits), target] -= 1.0
    gradient = gradient / len(logits)
    return gradient if classifier is None else gradient @ classifier


@torch.compiler.disable
def gradient_norm(loss: Tensor, feature: Tensor) -> Tensor:
    """The norm of ``∂loss/∂z`` over the batch of features z; 0 if z has no part in the loss."""
    (gradient,) = torch.autograd.grad(loss, feature, retain_graph=True, allow_unused=True)
    return widened(feature.detach()).new_zeros(()) if gradient is None else widened(gradient).norm()


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

    def forward(self, norms: Array) -> Array:
        """λ for this step, given the norms of the gradients of L_CE and L_Intra, ``(2,)``."""
        xp, kept, value = library(norms), alike(self.norms, norms), alike(self.value, norms)
        blended = xp.where(kept > 0, self.momentum * kept + (1 - self.momentum) * norms, norms)
        kept[:] = xp.where((norms > 0).all(), blended, kept)
        ce, intra = kept
        weight = (self.share * ce / intra.clip(min=torch.finfo(self.norms.dtype).tiny)).clip(max=self.maximum)
        weight = xp.where(intra > 0, weight, xp.zeros_like(weight))
        value[...] = weight
        return weight
