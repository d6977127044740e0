"""RKD: distances and angles between images are the teacher's."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.distillers.feature import FeatureDistiller
from mdistiller_icc.distillers.base import Features
from mdistiller_icc.losses.rkd import rkd_loss
from mdistiller_icc.settings import Setting, weight


class RKD(FeatureDistiller):
    """Park et al., "Relational Knowledge Distillation", CVPR 2019, arXiv:1904.05068.

    With several processes the relations span all their batches (``DISTILLER.GATHER``).
    """

    settings = {
        "DISTANCE_WEIGHT": weight(25.0, "the distances' loss, inside FEAT_WEIGHT"),
        "ANGLE_WEIGHT": weight(50.0, "the angles' loss, inside FEAT_WEIGHT"),
        "LOSS": {"CE_WEIGHT": weight(1.0, "cross-entropy"), "FEAT_WEIGHT": weight(1.0, "both relation losses")},
        "PDIST": {
            "EPSILON": Setting(
                1e-12, "Smallest squared distance, so that its root has a derivative.", least=1e-30, most=1
            ),
            "SQUARED": Setting(False, "Whether distances are squared."),
        },
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg.RKD)
        self.distance_weight = cfg.RKD.DISTANCE_WEIGHT
        self.angle_weight = cfg.RKD.ANGLE_WEIGHT
        self.eps = cfg.RKD.PDIST.EPSILON
        self.squared = cfg.RKD.PDIST.SQUARED

    def feature_loss(self, features_student: Features, features_teacher: Features, **_: Any) -> Tensor:
        student, teacher = (features["pooled_feat"].flatten(1) for features in (features_student, features_teacher))
        student, teacher = self.of_all(student, teacher)
        return rkd_loss(student, teacher, self.distance_weight, self.angle_weight, self.eps, self.squared)
