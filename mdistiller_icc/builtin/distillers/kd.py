"""KD: the student's prediction follows the teacher's."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.losses.kd import kd_loss
from mdistiller_icc.settings import temperature, weight


class KD(Distiller):
    """Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531."""

    channels_last = True
    settings = {
        "TEMPERATURE": temperature(4.0),
        "LOSS": {
            "CE_WEIGHT": weight(0.1, "cross-entropy"),
            "KD_WEIGHT": weight(0.9, "the divergence from the teacher"),
        },
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher)
        self.temperature = cfg.KD.TEMPERATURE
        self.ce_weight = cfg.KD.LOSS.CE_WEIGHT
        self.kd_weight = cfg.KD.LOSS.KD_WEIGHT

    def forward_train(self, image: Tensor, target: Tensor, **_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        logits_teacher = self.teach(image)[0]
        logits_student = self.student(image)[0]
        return logits_student, {
            "loss_ce": self.ce_weight * F.cross_entropy(logits_student, target),
            "loss_kd": self.kd_weight * kd_loss(logits_student, logits_teacher, self.temperature),
        }
