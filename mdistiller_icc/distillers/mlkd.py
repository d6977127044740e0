"""MLKD: predictions agree image by image, and in how images and classes relate, at several temperatures."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.losses.mlkd import batch_alignment_loss, class_alignment_loss, instance_alignment_loss, selection
from mdistiller_icc.settings import Setting, temperature, weight

BESIDE = (3.0, 5.0, 2.0, 6.0)
"""The temperatures beside ``MLKD.TEMPERATURE``; the strong view is compared at that one and the first two."""


class MLKD(LogitDistiller):
    """``L = 0.1 · CE + 0.9 · (instance + class + batch alignment)``, over five temperatures.

    Jin, Wang & Lin, "Multi-Level Logit Distillation", CVPR 2023, and the authors' released code [A]. Where the
    loader gives a strong view of each image too (``strong``), there are its cross-entropy, its alignment at three
    of the temperatures and, as in that code, the weak view's at the other two once more. Without one, the
    first line above is all [R]. Its published accuracies are of two views and mostly of 480 epochs.
    Standardised logits are seen by the instance alignment alone.
    """

    node = "MLKD"
    settings = {
        "CE_WEIGHT": weight(0.1, "cross-entropy, of each view"),
        "KD_WEIGHT": weight(0.9, "the three alignments"),
        "TEMPERATURE": temperature(4.0, "The first of the five temperatures; the others are 3, 5, 2 and 6."),
        "PER_SAMPLE": Setting(False, "Whether images and classes are weighted one by one, as the paper has it."),
    }

    def forward_train(
        self, image: Tensor, target: Tensor, *, strong: Tensor | None = None, epoch: int = 1, **_: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
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
