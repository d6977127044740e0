"""The frame that the feature methods of mdistiller share."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.distillers.base import Distiller, Features


class FeatureDistiller(Distiller):
    """Cross-entropy plus one loss between the two networks' features, each with its weight.

    A method defines ``feature_loss`` and has ``LOSS.CE_WEIGHT`` and ``LOSS.FEAT_WEIGHT`` in its node.

    Args:
        student: the network that is trained.
        teacher: the network it learns from.
        node: the method's own node of the configuration.
    """

    channels_last = True

    def __init__(self, student: nn.Module, teacher: nn.Module, node: CfgNode) -> None:
        super().__init__(student, teacher)
        self.ce_weight = node.LOSS.CE_WEIGHT
        self.feat_weight = node.LOSS.FEAT_WEIGHT

    def feature_loss(
        self, features_student: Features, features_teacher: Features, *, index: Tensor, **kwargs: Any
    ) -> Tensor:
        """The unweighted loss; ``index``, the images' numbers, and ``kwargs`` are the trainer's."""
        raise NotImplementedError(f"{type(self).__name__} defines no feature_loss")

    def forward_train(self, image: Tensor, target: Tensor, **kwargs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        features_teacher = self.teach(image)[1]
        logits_student, features_student = self.student(image)
        return logits_student, {
            "loss_ce": self.ce_weight * F.cross_entropy(logits_student, target),
            "loss_kd": self.feat_weight * self.feature_loss(features_student, features_teacher, **kwargs),
        }
