"""CKD: contrast of the teacher's and the student's logits inside the batch."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.losses.ckd import ckd_loss
from mdistiller_icc.settings import temperature, weight


class CKD(Distiller):
    """``L = CE + w · L_CL``: no KL term, no warm-up.

    Zhu et al., "CKD: Contrastive Knowledge Distillation from a Sample-wise Perspective",
    arXiv:2404.14109, and the authors' released code [A]. w, τ, batch size and learning rate differ per
    pair: see ``configs/cifar100/ckd``. Its published accuracies are of 480 epochs with a cosine schedule,
    twice the field's 240.

    Args:
        student: the network that is trained.
        teacher: the network it learns from.
        cfg: reads the node ``CKD``, whose keys are those of the authors' code.
    """

    channels_last = True
    settings = {
        "CE_WEIGHT": weight(1.0, "cross-entropy"),
        "CL_WEIGHT": weight(10.0, "the contrastive loss, w"),
        "TEMPERATURE": temperature(1.0, "Temperature that cosines are divided by, τ."),
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher)
        self.ce_weight = cfg.CKD.CE_WEIGHT
        self.cl_weight = cfg.CKD.CL_WEIGHT
        self.temperature = cfg.CKD.TEMPERATURE

    def forward_train(self, image: Tensor, target: Tensor, **_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        logits_teacher, _features = self.teach(image)
        logits_student, _features = self.student(image)
        every_student, every_teacher = self.of_all(logits_student, logits_teacher)
        loss_cl = ckd_loss(every_student, every_teacher, self.temperature)
        return logits_student, {
            "loss_ce": self.ce_weight * F.cross_entropy(logits_student, target),
            "loss_kd": self.cl_weight * loss_cl,
        }
