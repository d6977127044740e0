"""DKD: target and non-target knowledge, weighted apart."""

from __future__ import annotations

from torch import Tensor

from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.losses.dkd import dkd_loss
from mdistiller_icc.settings import temperature, warmup_epochs, weight


class DKD(LogitDistiller):
    """Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, arXiv:2203.08679.

    Args:
        student: the network that is trained.
        teacher: the network it learns from.
        cfg: reads the node ``DKD``; the distillation weight rises over the first ``WARMUP`` epochs.
    """

    node = "DKD"
    settings = {
        "CE_WEIGHT": weight(1.0, "cross-entropy"),
        "ALPHA": weight(1.0, "the target class's part, α"),
        "BETA": weight(8.0, "the other classes' part, β"),
        "T": temperature(4.0),
        "WARMUP": warmup_epochs(20),
    }

    def logit_loss(self, logits_student: Tensor, logits_teacher: Tensor, target: Tensor, epoch: int) -> Tensor:
        return dkd_loss(logits_student, logits_teacher, target, self.own.ALPHA, self.own.BETA, self.own.T)
