"""ICCKD: the student learns from the soft labels of a teacher with intra-class variety."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.losses.icckd import soft_cross_entropy
from mdistiller_icc.settings import Setting, temperature


class ICCKD(Distiller):
    """The student's side of ICC: ``L_KD = α · CE(y, p^s) + (1−α) · CE(p^t, p^s)``.

    "Enriching Knowledge Distillation with Intra-Class Contrastive Learning", arXiv:2509.22053 [B]. Its
    teacher is one trained with the ICC recipe, such as ``resnet110_icc``. α and a temperature are not
    known; the defaults are the field's for KD, α = 0.1 and T = 4 [R]. From one teacher, and with KD's
    temperature and shares, the gradient is KD's: soft cross-entropy is the Kullback-Leibler divergence plus
    the teacher's entropy, which is constant. Only its teacher tells it from KD.

    Args:
        student: the network that is trained.
        teacher: the enriched network it learns from.
        cfg: reads the node ``ICCKD``.
    """

    channels_last = True
    settings = {
        "ALPHA": Setting(0.1, "Share of the label, α; the teacher has the rest.", least=0, most=1),
        "TEMPERATURE": temperature(4.0),
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher)
        self.alpha = cfg.ICCKD.ALPHA
        self.temperature = cfg.ICCKD.TEMPERATURE

    def forward_train(self, image: Tensor, target: Tensor, **_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        logits_teacher, _features = self.teach(image)
        logits_student, _features = self.student(image)
        loss_soft = soft_cross_entropy(logits_student, logits_teacher, self.temperature)
        return logits_student, {
            "loss_ce": self.alpha * F.cross_entropy(logits_student, target),
            "loss_kd": (1 - self.alpha) * loss_soft,
        }
