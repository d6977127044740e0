"""KDSVD: the student's stages relate to each other as the teacher's do."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.distillers.feature import FeatureDistiller
from mdistiller_icc.builtin.distillers.settings import upstream
from mdistiller_icc.builtin.distillers.stages import paired
from mdistiller_icc.distillers.base import Features
from mdistiller_icc.errors import UserError
from mdistiller_icc.losses.kdsvd import kdsvd_loss


class KDSVD(FeatureDistiller):
    """Lee, Kim & Song, "Self-supervised Knowledge Distillation Using SVD", ECCV 2018, arXiv:1807.06819."""

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg.KDSVD)
        self.k = cfg.KDSVD.K
        self.upstream = upstream(cfg)

    @staticmethod
    def defaults() -> CfgNode:
        return CfgNode({"K": 1, "LOSS": {"CE_WEIGHT": 1.0, "FEAT_WEIGHT": 1.0}})

    def feature_loss(self, features_student: Features, features_teacher: Features, **_: Any) -> Tensor:
        stages = paired(features_student["feats"][1:], features_teacher["feats"][1:], self.upstream)
        if len(stages[0]) < 2:
            raise UserError("KDSVD relates a stage to the one before it, but the pair has one stage in common")
        return kdsvd_loss(*stages, self.k)
