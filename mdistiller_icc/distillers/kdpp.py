"""KD++: KD, and features that point to their class's mean in the teacher and are as long as the teacher's."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.classifier import centers, classifier_name
from mdistiller_icc.data import described
from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.distillers.warmup import warmup
from mdistiller_icc.losses.gather import gather_rows
from mdistiller_icc.losses.kd import kd_loss
from mdistiller_icc.losses.nd import nd_loss
from mdistiller_icc.probe import probe
from mdistiller_icc.settings import temperature, warmup_epochs, weight


class KDPlusPlus(LogitDistiller):
    """``L = CE + a · warm-up · T² KL + b · ND``; its name in the configuration is ``KDPP``.

    Wang et al., "Improving Knowledge Distillation via Regularizing Feature Norm and Direction",
    arXiv:2305.17007, and the authors' released code [A]. a and b differ per pair; the defaults are those of
    resnet32x4 → resnet8x4. Where the pooled features differ in length, a linear map makes the student's the
    teacher's. Class means are the teacher's over the training images as the loader gives them; with a trainer that
    does not show its loader, those of the images that were seen so far [R].
    """

    node = "KDPP"
    settings = {
        "CE_WEIGHT": weight(1.0, "cross-entropy"),
        "KD_WEIGHT": weight(3.5, "the divergence from the teacher, a"),
        "ND_WEIGHT": weight(2.0, "the direction and length of features, b"),
        "TEMPERATURE": temperature(4.0),
        "WARMUP": warmup_epochs(20),
    }
    sums: Tensor

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg)
        size = described(cfg).image_size
        width_student, width_teacher = (
            probe(network, size)[1]["pooled_feat"].flatten(1).shape[1] for network in (student, teacher)
        )
        same = width_student == width_teacher
        self.embed: nn.Module = nn.Identity() if same else nn.Linear(width_student, width_teacher)
        classes = len(centers(teacher, classifier_name(teacher, "teacher")))
        self.register_buffer("sums", torch.zeros(classes, width_teacher))
        self.measured = False

    def attach(self, train_loader: Any) -> None:
        """Add up the teacher's features, class by class."""
        self.sums.zero_()
        for image, target, *_ in train_loader:
            image = image.to(self.sums.device)
            self._see(self.teach(image)[1]["pooled_feat"].flatten(1), target.to(self.sums.device))
        self.measured = True

    @torch.no_grad()
    def _see(self, feature_teacher: Tensor, target: Tensor) -> None:
        feature, target = gather_rows(feature_teacher, target)
        self.sums.index_add_(0, target, feature.to(self.sums.dtype))

    def forward_train(
        self, image: Tensor, target: Tensor, *, epoch: int = 1, **_: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logits_teacher, features_teacher = self.teach(image)
        logits_student, features_student = self.student(image)
        feature_teacher = features_teacher["pooled_feat"].flatten(1)
        feature_student = self.embed(features_student["pooled_feat"].flatten(1))
        if not self.measured:
            self._see(feature_teacher, target)
        logits = self.transform(logits_student), self.transform(logits_teacher)
        loss_kd = warmup(epoch, self.warmup_epochs) * kd_loss(*logits, self.own.TEMPERATURE)
        loss_nd = nd_loss(feature_student, feature_teacher, self.sums[target])  # of a mean its direction counts alone
        return logits_student, {
            "loss_ce": self.ce_weight * F.cross_entropy(logits_student, target),
            "loss_kd": self.own.KD_WEIGHT * loss_kd + self.own.ND_WEIGHT * loss_nd,
        }
