"""The objective that the paper's theory analyses (Section 4), in place of the one that it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode

from mdistiller_icc.classifier import classifier_layer
from mdistiller_icc.errors import UserError
from mdistiller_icc.icc import ICC
from mdistiller_icc.losses.intra_class import intra_class_loss, scaled

NAME = "ICC_THEORY"
"""What ``DISTILLER.TYPE`` calls it, while it is registered."""


@contextmanager
def registered(distillers: dict[str, Any]) -> Iterator[None]:
    """Have the host know the objective for as long as a sweep needs it: it is no method of the plugin's."""
    distillers[NAME] = TheoryICC
    try:
        yield
    finally:
        del distillers[NAME]


class TheoryICC(ICC):
    """``L_Inter + λ · L_Intra``: the classes are told apart by contrast, not by cross-entropy.

    ``L_Inter(x) = log(1 + Σ_{x⁻ ∉ C(x)} exp((f(x)·f(x⁻) − f(x)·f(x⁺)) / τ))`` with the batch's images of other
    classes as x⁻ and ‖f‖ = 1: that the theory has such a term is reported [B], this form of it is our reading [R].
    The classifier learns from detached features, so that margins and accuracies exist, and moves no feature.

    Raises:
        UserError: the settings do not give every sample a second view.
    """

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        """Look at the recipe's settings, and that every sample gets a second view.

        Raises:
            UserError: a setting is out of range, or ``ICC.POSITIVE`` is not ``twin``.
        """
        super().check(cfg)
        if cfg.ICC.POSITIVE != "twin":
            raise UserError(
                f"the theory needs a second view of every sample: ICC.POSITIVE twin, not {cfg.ICC.POSITIVE}"
            )

    def classification_loss(self, logits: Tensor, feature: Tensor, target: Tensor) -> Tensor:
        """L_Inter, and the cross-entropy that teaches the classifier and moves no feature."""
        f, view = scaled(feature, "cosine").chunk(2)
        negatives = f.unsqueeze(0).expand(len(f), -1, -1)
        others = target.unsqueeze(1) != target.unsqueeze(0)
        loss_inter = intra_class_loss(f, view, negatives, others, self.loss.temperature).mean()
        layer = classifier_layer(self.student, self.classifier)
        from_detached = F.linear(feature[: len(target)].detach().float(), layer.weight.flatten(1), layer.bias)
        return loss_inter + F.cross_entropy(from_detached, target)

    def class_centers(self) -> Tensor | None:
        """None: gradients are compared with cross-entropy's, which moves no feature here."""
        return None
