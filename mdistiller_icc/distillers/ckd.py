"""CKD: contrast of the teacher's and the student's logits inside the batch."""

from __future__ import annotations

from torch import Tensor

from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.losses.ckd import ckd_loss
from mdistiller_icc.settings import temperature, weight


class CKD(LogitDistiller):
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

    node = "CKD"
    relates_images = True
    settings = {
        "CE_WEIGHT": weight(1.0, "cross-entropy"),
        "CL_WEIGHT": weight(10.0, "the contrastive loss, w"),
        "TEMPERATURE": temperature(1.0, "Temperature that cosines are divided by, τ."),
    }

    def logit_loss(self, logits_student: Tensor, logits_teacher: Tensor, target: Tensor, epoch: int) -> Tensor:
        weight: float = self.own.CL_WEIGHT
        return weight * ckd_loss(logits_student, logits_teacher, self.own.TEMPERATURE)
