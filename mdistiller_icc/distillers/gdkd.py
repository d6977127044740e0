"""GDKD: DKD's split with the teacher's first classes in the place of the label."""

from __future__ import annotations

from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.classifier import centers, classifier_name
from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.errors import UserError
from mdistiller_icc.losses.gdkd import gdkd_loss
from mdistiller_icc.settings import count, temperature, warmup_epochs, weight


class GDKD(LogitDistiller):
    """``L = CE + warm-up · T² (w₀ KL(first or rest) + w₁ KL(within the first) + w₂ KL(within the rest))``.

    By the authors' released code (ZaberKo/GDKD, 2025) [A]. w₁ and w₂ differ per pair; the defaults are those of
    resnet32x4 → resnet8x4.

    Raises:
        UserError: ``GDKD.K`` leaves no other class.
    """

    node = "GDKD"
    settings = {
        "CE_WEIGHT": weight(1.0, "cross-entropy"),
        "K": count(5, "How many classes count as the teacher's first.", most=10**6),
        "SPLIT_WEIGHT": weight(1.0, "the split into the first classes and the rest, w₀"),
        "FIRST_WEIGHT": weight(2.0, "the first classes among themselves, w₁"),
        "REST_WEIGHT": weight(8.0, "the rest among themselves, w₂"),
        "TEMPERATURE": temperature(4.0),
        "WARMUP": warmup_epochs(20),
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg)
        classes = len(centers(teacher, classifier_name(teacher, "teacher")))
        if self.own.K >= classes:
            raise UserError(f"GDKD.K must be below the number of classes, {classes}, not {self.own.K}")

    def logit_loss(self, logits_student: Tensor, logits_teacher: Tensor, target: Tensor, epoch: int) -> Tensor:
        own = self.own
        weights = (own.SPLIT_WEIGHT, own.FIRST_WEIGHT, own.REST_WEIGHT)
        return gdkd_loss(logits_student, logits_teacher, own.K, *weights, own.TEMPERATURE)
