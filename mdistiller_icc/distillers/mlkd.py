"""MLKD: predictions agree image by image, and in how images and classes relate, at several temperatures."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode

from mdistiller_icc.distillers.base import TWO_VIEWS
from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.errors import UserError
from mdistiller_icc.losses.mlkd import batch_alignment_loss, class_alignment_loss, instance_alignment_loss, selection
from mdistiller_icc.settings import Setting, temperature, weight

BESIDE = (3.0, 5.0, 2.0, 6.0)
"""The temperatures beside ``MLKD.TEMPERATURE``; the strong view is compared at that one and the first two."""


class MLKD(LogitDistiller):
    """``L = 0.1 · CE + 0.9 · (instance + class + batch alignment)``, over five temperatures.

    Jin, Wang & Lin, "Multi-Level Logit Distillation", CVPR 2023, and the authors' released code [A]. Where the
    strong view of each image is learnt from too, there are its cross-entropy, its alignment at three of the
    temperatures and, as in that code, the weak view's at the other two once more. Without it, the first line above
    is all [R]. The published accuracies are of two views and mostly of 480 epochs. Standardised logits are seen by
    the instance alignment alone.

    Raises:
        UserError: ``STRONG_VIEW`` is set, and the loader gives one view of each image.
    """

    node = "MLKD"
    settings = {
        "CE_WEIGHT": weight(0.1, "cross-entropy, of each view"),
        "KD_WEIGHT": weight(0.9, "the three alignments"),
        "TEMPERATURE": temperature(4.0, "The first of the five temperatures; the others are 3, 5, 2 and 6."),
        "STRONG_VIEW": Setting(True, "Whether it learns from a strong view of each image as well, as published."),
        "PER_SAMPLE": Setting(False, "Whether images and classes are weighted one by one, as the paper has it."),
    }

    @classmethod
    def strong_view(cls, cfg: CfgNode) -> str | None:
        """Two operations of random magnitude and a square cut out, unless ``STRONG_VIEW`` is off."""
        return "randaugment+cutout" if cfg.MLKD.STRONG_VIEW else None

    def forward_train(
        self, image: Tensor, target: Tensor, *, strong: Tensor | None = None, epoch: int = 1, **_: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if not self.own.STRONG_VIEW:
            strong = None
        elif strong is None:
            raise UserError(f"MLKD {TWO_VIEWS} (MLKD.STRONG_VIEW False does without)")
        logits_teacher = self.teach(image)[0]
        strong_teacher = None if strong is None else self.teach(strong)[0]
        logits_student = self.student(image)[0]
        temperatures = (self.own.TEMPERATURE, *BESIDE)
        loss_ce = F.cross_entropy(logits_student, target)
        student, teacher = self.of_all(logits_student, logits_teacher)
        shape_student, shape_teacher = self.transform(student), self.transform(teacher)
        images, classes = selection(teacher, self.own.PER_SAMPLE)
        loss = (
            instance_alignment_loss(shape_student, shape_teacher, temperatures, images)
            + class_alignment_loss(student, teacher, temperatures, classes)
            + batch_alignment_loss(student, teacher, temperatures, images)
        )
        if strong is not None and strong_teacher is not None:
            strong_student = self.student(strong)[0]
            loss_ce = loss_ce + F.cross_entropy(strong_student, target)
            views = self.transform(strong_student), self.transform(strong_teacher)
            loss = (
                loss
                + instance_alignment_loss(*views, temperatures[:3])
                + instance_alignment_loss(shape_student, shape_teacher, temperatures[3:])
            )
        return logits_student, {"loss_ce": self.ce_weight * loss_ce, "loss_kd": self.own.KD_WEIGHT * loss}
