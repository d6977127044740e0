"""NKD: the target's probability and, normalised by themselves, the other classes' are learnt apart."""

from __future__ import annotations

from torch import Tensor

from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.losses.nkd import nkd_loss
from mdistiller_icc.settings import temperature, weight


class NKD(LogitDistiller):
    """``L = CE − mean p_t[y] log p_s[y] + γ T² · CE among the other classes``.

    Yang et al., ICCV 2023, arXiv:2303.13005, and the authors' released code [A], whose CIFAR-100 settings are
    the defaults (for ResNet34 → ResNet18); on ImageNet γ is 1.5 and T is 1.
    """

    node = "NKD"
    settings = {
        "CE_WEIGHT": weight(1.0, "cross-entropy"),
        "GAMMA": weight(3.5, "the other classes, γ"),
        "TEMPERATURE": temperature(3.0, "Temperature of the other classes."),
    }

    def logit_loss(self, logits_student: Tensor, logits_teacher: Tensor, target: Tensor, epoch: int) -> Tensor:
        return nkd_loss(logits_student, logits_teacher, target, self.own.GAMMA, self.own.TEMPERATURE)
