"""PKT: the student's neighbourhoods in feature space follow the teacher's."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.distillers.feature import FeatureDistiller
from mdistiller_icc.distillers.base import Features
from mdistiller_icc.losses.pkt import pkt_loss
from mdistiller_icc.settings import weight


class PKT(FeatureDistiller):
    """Passalis & Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018.

    With several processes the relations span all their batches (``DISTILLER.GATHER``).
    """

    settings = {
        "LOSS": {"CE_WEIGHT": weight(1.0, "cross-entropy"), "FEAT_WEIGHT": weight(30000.0, "the neighbourhood loss")}
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg.PKT)

    def feature_loss(self, features_student: Features, features_teacher: Features, **_: Any) -> Tensor:
        student, teacher = (features["pooled_feat"].flatten(1) for features in (features_student, features_teacher))
        return pkt_loss(*self.of_all(student, teacher))
