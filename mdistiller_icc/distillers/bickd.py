"""BicKD: contrast of predictions over the samples and over the classes of a batch."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.losses.bickd import class_contrastive_loss, sample_contrastive_loss
from mdistiller_icc.losses.kd import kd_loss
from mdistiller_icc.settings import temperature, weight


class BicKD(Distiller):
    """``L = L_CE + L_SC + L_CC``, and the plain KL term where ``KD_WEIGHT`` asks for it.

    "BicKD: Bilateral Contrastive Knowledge Distillation", arXiv:2602.01265: the three terms, τ = 4 and a
    batch of 256 are reported [B]; the weights are not, so each is a setting, 1 by default [R].

    Args:
        student: the network that is trained.
        teacher: the network it learns from.
        cfg: reads the node ``BICKD``: ``SC`` is rows, ``CC`` columns, each with a pull and a push.
    """

    channels_last = True
    settings = {
        "TEMPERATURE": temperature(4.0),
        "LOSS": {
            "CE_WEIGHT": weight(1.0, "cross-entropy"),
            "SC_PULL_WEIGHT": weight(1.0, "the pull between the two predictions of a sample"),
            "SC_PUSH_WEIGHT": weight(1.0, "the push between samples of different classes"),
            "CC_PULL_WEIGHT": weight(1.0, "the pull between the two predictions of a class"),
            "CC_PUSH_WEIGHT": weight(1.0, "the push between classes"),
            "KD_WEIGHT": weight(0.0, "the divergence from the teacher"),
        },
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher)
        weights = cfg.BICKD.LOSS
        self.temperature = cfg.BICKD.TEMPERATURE
        self.ce_weight = weights.CE_WEIGHT
        self.kd_weight = weights.KD_WEIGHT
        self.sample_weights = (weights.SC_PULL_WEIGHT, weights.SC_PUSH_WEIGHT)
        self.class_weights = (weights.CC_PULL_WEIGHT, weights.CC_PUSH_WEIGHT)

    def forward_train(self, image: Tensor, target: Tensor, **_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        logits_teacher, _features = self.teach(image)
        logits_student, _features = self.student(image)
        every_student, every_teacher, every_target = self.of_all(logits_student, logits_teacher, target)
        loss_kd = sample_contrastive_loss(
            every_student, every_teacher, every_target, self.temperature, *self.sample_weights
        ) + class_contrastive_loss(every_student, every_teacher, self.temperature, *self.class_weights)
        if self.kd_weight:
            loss_kd = loss_kd + self.kd_weight * kd_loss(logits_student, logits_teacher, self.temperature)
        return logits_student, {
            "loss_ce": self.ce_weight * F.cross_entropy(logits_student, target),
            "loss_kd": loss_kd,
        }
