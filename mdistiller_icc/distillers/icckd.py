"""ICCKD: the student learns from the soft labels of a teacher with intra-class variety."""

from __future__ import annotations

from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.losses.icckd import soft_cross_entropy
from mdistiller_icc.settings import Setting, temperature


class ICCKD(LogitDistiller):
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

    node = "ICCKD"
    settings = {
        "ALPHA": Setting(0.1, "Share of the label, α; the teacher has the rest.", least=0, most=1),
        "TEMPERATURE": temperature(4.0),
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg)
        self.ce_weight = self.own.ALPHA

    def logit_loss(self, logits_student: Tensor, logits_teacher: Tensor, target: Tensor, epoch: int) -> Tensor:
        weight: float = 1 - self.own.ALPHA
        return weight * soft_cross_entropy(logits_student, logits_teacher, self.own.TEMPERATURE)
