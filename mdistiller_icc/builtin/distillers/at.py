"""AT: the student's attention maps follow the teacher's."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.distillers.feature import FeatureDistiller
from mdistiller_icc.builtin.distillers.settings import upstream
from mdistiller_icc.builtin.distillers.stages import paired
from mdistiller_icc.distillers.base import Features
from mdistiller_icc.losses.at import at_loss
from mdistiller_icc.settings import Setting, weight


class AT(FeatureDistiller):
    """Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017, arXiv:1612.03928."""

    settings = {
        "P": Setting(2.0, "Power of the activations in an attention map.", above=0, most=10),
        "LOSS": {"CE_WEIGHT": weight(1.0, "cross-entropy"), "FEAT_WEIGHT": weight(1000.0, "the attention loss")},
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg.AT)
        self.p = cfg.AT.P
        self.upstream = upstream(cfg)

    def feature_loss(self, features_student: Features, features_teacher: Features, **_: Any) -> Tensor:
        stages = paired(features_student["feats"][1:], features_teacher["feats"][1:], self.upstream)
        return at_loss(*stages, self.p)
