"""NormKD: each prediction is softened by the deviation of its own logits."""

from __future__ import annotations

from torch import Tensor

from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.losses.normkd import normkd_loss
from mdistiller_icc.settings import Setting, weight


class NormKD(LogitDistiller):
    """``L = 0.1 · CE + 0.9 · mean τ_t² KL(σ(t/τ_t) ‖ σ(s/τ_s))``, ``τ = N · std`` of an image's logits.

    Chi et al., "NormKD: Normalized Logits for Knowledge Distillation", arXiv:2308.00520, and the authors'
    released code [A], whose CIFAR-100 settings are the defaults; on ImageNet N is 1 and the weights are 0.5.
    """

    node = "NORMKD"
    settings = {
        "CE_WEIGHT": weight(0.1, "cross-entropy"),
        "KD_WEIGHT": weight(0.9, "the divergence from the teacher"),
        "N": Setting(2.0, "Temperature in deviations of an image's logits.", least=1e-3, most=1e3),
    }

    def logit_loss(self, logits_student: Tensor, logits_teacher: Tensor, target: Tensor, epoch: int) -> Tensor:
        weight: float = self.own.KD_WEIGHT
        return weight * normkd_loss(logits_student, logits_teacher, self.own.N)
