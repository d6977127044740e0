"""NST: the student's channels fire where the teacher's do."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.distillers.feature import FeatureDistiller
from mdistiller_icc.builtin.distillers.settings import upstream
from mdistiller_icc.builtin.distillers.stages import paired
from mdistiller_icc.distillers.base import Features
from mdistiller_icc.losses.nst import nst_loss
from mdistiller_icc.settings import weight


class NST(FeatureDistiller):
    """Huang & Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", arXiv:1707.01219."""

    settings = {
        "LOSS": {"CE_WEIGHT": weight(1.0, "cross-entropy"), "FEAT_WEIGHT": weight(50.0, "the selectivity loss")}
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg.NST)
        self.upstream = upstream(cfg)

    def feature_loss(self, features_student: Features, features_teacher: Features, **_: Any) -> Tensor:
        return nst_loss(*paired(features_student["feats"][1:], features_teacher["feats"][1:], self.upstream))
