"""DTKD: each network has a temperature of its own for each image, by the size of its largest logit."""

from __future__ import annotations

from torch import Tensor

from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.losses.dtkd import dtkd_loss
from mdistiller_icc.losses.kd import kd_loss
from mdistiller_icc.settings import temperature, warmup_epochs, weight


class DTKD(LogitDistiller):
    """``L = CE + warm-up · (α · mean τ_s τ_t KL + β · T² KL)``: temperatures by image, and a fixed one beside.

    Wei & Bai, "Dynamic Temperature Knowledge Distillation", arXiv:2404.12711, and the author's released code
    [A], whose defaults these are; α and β differ per pair.
    """

    node = "DTKD"
    settings = {
        "CE_WEIGHT": weight(1.0, "cross-entropy"),
        "ALPHA": weight(3.0, "the divergence at temperatures by image, α"),
        "BETA": weight(1.0, "the divergence at the fixed temperature, β"),
        "TEMPERATURE": temperature(4.0, "The fixed temperature, and the mean of the two networks' own."),
        "WARMUP": warmup_epochs(20),
    }

    def logit_loss(self, logits_student: Tensor, logits_teacher: Tensor, target: Tensor, epoch: int) -> Tensor:
        alpha: float = self.own.ALPHA
        beta: float = self.own.BETA
        logits, temperature = (logits_student, logits_teacher), self.own.TEMPERATURE
        return alpha * dtkd_loss(*logits, temperature) + beta * kd_loss(*logits, temperature)
