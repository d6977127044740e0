"""KD: the student's prediction follows the teacher's."""

from __future__ import annotations

from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.losses.kd import kd_loss
from mdistiller_icc.settings import temperature, weight


class KD(LogitDistiller):
    """Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531."""

    node = "KD"
    settings = {
        "TEMPERATURE": temperature(4.0),
        "LOSS": {
            "CE_WEIGHT": weight(0.1, "cross-entropy"),
            "KD_WEIGHT": weight(0.9, "the divergence from the teacher"),
        },
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg)
        self.ce_weight = self.own.LOSS.CE_WEIGHT

    def logit_loss(self, logits_student: Tensor, logits_teacher: Tensor, target: Tensor, epoch: int) -> Tensor:
        weight: float = self.own.LOSS.KD_WEIGHT
        return weight * kd_loss(logits_student, logits_teacher, self.own.TEMPERATURE)
