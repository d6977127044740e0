"""DKD: target and non-target knowledge, weighted apart."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.distillers.warmup import warmup
from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.losses.dkd import dkd_loss
from mdistiller_icc.settings import temperature, warmup_epochs, weight


class DKD(Distiller):
    """Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, arXiv:2203.08679.

    Args:
        student: the network that is trained.
        teacher: the network it learns from.
        cfg: reads the node ``DKD``; the distillation weight rises over the first ``WARMUP`` epochs.
    """

    channels_last = True
    settings = {
        "CE_WEIGHT": weight(1.0, "cross-entropy"),
        "ALPHA": weight(1.0, "the target class's part, α"),
        "BETA": weight(8.0, "the other classes' part, β"),
        "T": temperature(4.0),
        "WARMUP": warmup_epochs(20),
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher)
        self.ce_weight = cfg.DKD.CE_WEIGHT
        self.alpha = cfg.DKD.ALPHA
        self.beta = cfg.DKD.BETA
        self.temperature = cfg.DKD.T
        self.warmup_epochs = cfg.DKD.WARMUP
        self.settled = max(1, self.warmup_epochs)

    def forward_train(self, image: Tensor, target: Tensor, *, epoch: int, **_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        logits_teacher = self.teach(image)[0]
        logits_student = self.student(image)[0]
        loss_dkd = dkd_loss(logits_student, logits_teacher, target, self.alpha, self.beta, self.temperature)
        return logits_student, {
            "loss_ce": self.ce_weight * F.cross_entropy(logits_student, target),
            "loss_kd": warmup(epoch, self.warmup_epochs) * loss_dkd,
        }
