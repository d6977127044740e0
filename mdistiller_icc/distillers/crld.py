"""CRLD: predictions agree on each of two views of an image, and across them, where the teacher is sure."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode

from mdistiller_icc.distillers.base import TWO_VIEWS
from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.errors import UserError
from mdistiller_icc.losses.crld import crld_loss
from mdistiller_icc.settings import Setting, temperature, weight


class CRLD(LogitDistiller):
    """``L = CE(weak) + CE(strong) + w · within the views + w' · across the views``.

    Zhang et al., "Cross-View Consistency Regularisation for Knowledge Distillation", ACM MM 2024,
    arXiv:2412.16493, as two independent ports have it, whose defaults these are; w differs per pair.

    Raises:
        UserError: the loader gives one view of each image.
    """

    node = "CRLD"
    settings = {
        "CE_WEIGHT": weight(1.0, "cross-entropy, of each view"),
        "WITHIN_WEIGHT": weight(2.0, "the divergences within the views, w"),
        "CROSS_WEIGHT": weight(0.5, "the divergences across the views, w'"),
        "WITHIN_THRESHOLD": Setting(0.9, "How sure the teacher is of a weak view that counts.", least=0, most=1),
        "CROSS_THRESHOLD": Setting(0.2, "How sure the teacher is of a strong view that counts.", least=0, most=1),
        "TEMPERATURE": temperature(4.0),
    }

    @classmethod
    def strong_view(cls, cfg: CfgNode) -> str | None:
        """Two operations of magnitude 10."""
        return "randaugment-10"

    def forward_train(
        self, image: Tensor, target: Tensor, *, strong: Tensor | None = None, epoch: int = 1, **_: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if strong is None:
            raise UserError(f"CRLD {TWO_VIEWS}")
        logits_teacher, strong_teacher = self.teach(image)[0], self.teach(strong)[0]
        logits_student, strong_student = self.student(image)[0], self.student(strong)[0]
        own = self.own
        loss_kd = crld_loss(
            self.transform(logits_student),
            self.transform(strong_student),
            self.transform(logits_teacher),
            self.transform(strong_teacher),
            own.TEMPERATURE,
            own.WITHIN_WEIGHT,
            own.CROSS_WEIGHT,
            own.WITHIN_THRESHOLD,
            own.CROSS_THRESHOLD,
        )
        loss_ce = F.cross_entropy(logits_student, target) + F.cross_entropy(strong_student, target)
        return logits_student, {"loss_ce": self.ce_weight * loss_ce, "loss_kd": loss_kd}
