"""CTKD: plain KD at a temperature that is learnt against the student, more and more."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.losses.ctkd import curriculum, curriculum_temperature
from mdistiller_icc.losses.kd import kd_loss
from mdistiller_icc.settings import Setting, count, weight


class CTKD(LogitDistiller):
    """``L = 0.1 · CE + 0.9 · T² KL`` with ``T = T_START + T_END · sigmoid(θ)``; θ's gradient is reversed.

    Li et al., "Curriculum Temperature for Knowledge Distillation", AAAI 2023, arXiv:2211.16231, and the
    authors' released code [A]: one temperature for all images, θ = 1 at first, in the student's optimiser
    with its weight decay. Their temperature by image, from an MLP, is not here.
    """

    node = "CTKD"
    settings = {
        "CE_WEIGHT": weight(0.1, "cross-entropy"),
        "KD_WEIGHT": weight(0.9, "the divergence from the teacher"),
        "T_START": Setting(1.0, "The least temperature.", least=1e-3, most=1e3),
        "T_END": Setting(20.0, "How far the temperature can rise above that.", least=0, most=1e3),
        "CURRICULUM": count(10, "Epochs over which the temperature's reversed gradient rises from 0.", 0, 10**6),
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg)
        self.theta = nn.Parameter(torch.ones(()))
        self.settled = max(1, self.own.CURRICULUM)

    def temperature(self, epoch: int) -> Tensor:
        """T, a scalar whose gradient reaches θ reversed."""
        factor = curriculum(epoch, self.own.CURRICULUM)
        return curriculum_temperature(self.theta, factor, self.own.T_START, self.own.T_END)

    def logit_loss(self, logits_student: Tensor, logits_teacher: Tensor, target: Tensor, epoch: int) -> Tensor:
        weight: float = self.own.KD_WEIGHT
        return weight * kd_loss(logits_student, logits_teacher, self.temperature(epoch))

    def diagnostics(self) -> dict[str, float | None]:
        return {"ctkd_temperature": self.temperature(1).item()}
