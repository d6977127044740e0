"""KDSVD: the student's stages relate to each other as the teacher's do."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.distillers.feature import FeatureDistiller
from mdistiller_icc.builtin.distillers.settings import image_size, upstream
from mdistiller_icc.builtin.distillers.stages import look, paired
from mdistiller_icc.distillers.base import Features
from mdistiller_icc.errors import UserError
from mdistiller_icc.losses.kdsvd import kdsvd_loss
from mdistiller_icc.settings import count, weight


class KDSVD(FeatureDistiller):
    """Lee, Kim & Song, "Self-supervised Knowledge Distillation Using SVD", ECCV 2018, arXiv:1807.06819.

    Raises:
        UserError: the pair has one stage in common, or its maps are narrower than ``KDSVD.K``.
    """

    settings = {
        "K": count(1, "Singular vectors of each stage, at most its maps' width.", most=1024),
        "LOSS": {"CE_WEIGHT": weight(1.0, "cross-entropy"), "FEAT_WEIGHT": weight(1.0, "the relation loss")},
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg.KDSVD)
        self.k = cfg.KDSVD.K
        self.upstream = upstream(cfg)
        features_student, features_teacher = look(student, teacher, image_size(cfg))
        stages = paired(features_student["feats"][1:], features_teacher["feats"][1:], self.upstream)
        if len(stages[0]) < 2:
            raise UserError("KDSVD relates a stage to the one before it, but the pair has one stage in common")
        narrowest = min(feature.shape[3] for network in stages for feature in network)
        if self.k > narrowest:
            raise UserError(f"KDSVD.K must be at most {narrowest}, the width of the pair's last maps, not {self.k}")

    def feature_loss(self, features_student: Features, features_teacher: Features, **_: Any) -> Tensor:
        stages = paired(features_student["feats"][1:], features_teacher["feats"][1:], self.upstream)
        return kdsvd_loss(*stages, self.k)
