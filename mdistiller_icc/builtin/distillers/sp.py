"""SP: images alike to the teacher are alike to the student."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.distillers.feature import FeatureDistiller
from mdistiller_icc.distillers.base import Features
from mdistiller_icc.losses.sp import sp_loss
from mdistiller_icc.settings import weight


class SP(FeatureDistiller):
    """Tung & Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, arXiv:1907.09682.

    With several processes the relations span all their batches (``DISTILLER.GATHER``).
    """

    settings = {
        "LOSS": {"CE_WEIGHT": weight(1.0, "cross-entropy"), "FEAT_WEIGHT": weight(3000.0, "the similarity loss")}
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg.SP)

    def feature_loss(self, features_student: Features, features_teacher: Features, **_: Any) -> Tensor:
        student, teacher = features_student["feats"][-1], features_teacher["feats"][-1]
        return sp_loss(*self.of_all(student.flatten(1), teacher.flatten(1)))
