"""RKD: distances and angles between images are the teacher's."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.distillers.feature import FeatureDistiller
from mdistiller_icc.distillers.base import Features
from mdistiller_icc.losses.rkd import rkd_loss


class RKD(FeatureDistiller):
    """Park et al., "Relational Knowledge Distillation", CVPR 2019, arXiv:1904.05068.

    With several processes the relations span all their batches (``DISTILLER.GATHER``).
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg.RKD)
        self.distance_weight = cfg.RKD.DISTANCE_WEIGHT
        self.angle_weight = cfg.RKD.ANGLE_WEIGHT
        self.eps = cfg.RKD.PDIST.EPSILON
        self.squared = cfg.RKD.PDIST.SQUARED

    @staticmethod
    def defaults() -> CfgNode:
        return CfgNode(
            {
                "DISTANCE_WEIGHT": 25.0,
                "ANGLE_WEIGHT": 50.0,
                "LOSS": {"CE_WEIGHT": 1.0, "FEAT_WEIGHT": 1.0},
                "PDIST": {"EPSILON": 1e-12, "SQUARED": False},
            }
        )

    def feature_loss(self, features_student: Features, features_teacher: Features, **_: Any) -> Tensor:
        student, teacher = (features["pooled_feat"].flatten(1) for features in (features_student, features_teacher))
        student, teacher = self.of_all(student, teacher)
        return rkd_loss(student, teacher, self.distance_weight, self.angle_weight, self.eps, self.squared)
