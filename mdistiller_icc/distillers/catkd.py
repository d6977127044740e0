"""CAT-KD: the student's class activation maps follow the teacher's."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.classifier import classifier_layer
from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.distillers.last_map import LastMap, classified, returned
from mdistiller_icc.losses.catkd import catkd_loss
from mdistiller_icc.settings import Setting, count, weight


class CATKD(Distiller):
    """``L = CE + β · MSE`` between the maps that the classifiers make of every position of the last feature maps.

    Guo et al., CVPR 2023, arXiv:2304.12777, and the authors' released code [A]. The maps have no bias, so the
    student's classifier has none either: it is set to 0 and not trained, and the average of a student's maps is its
    logits. β, r and whether maps are normalised differ per pair; the defaults are those of resnet32x4 → resnet8x4.

    Raises:
        UserError: a network has no last map.
    """

    channels_last = True
    teacher: nn.Module
    settings = {
        "CE_WEIGHT": weight(1.0, "cross-entropy"),
        "BETA": weight(15.0, "the difference of the maps, β"),
        "RESOLUTION": count(2, "Side that maps are pooled to, r.", most=64),
        "NORMALISE": Setting(False, "Whether each map is divided by its length."),
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher)
        self.own = cfg.CATKD
        self.map_student = LastMap(student, cfg, "student")
        self.layers = self.map_student.layers
        self.map_teacher = LastMap(teacher, cfg, "teacher")
        bias = classifier_layer(student, self.map_student.classifier).bias
        if bias is not None:
            bias.requires_grad_(False).zero_()

    def forward_train(self, image: Tensor, target: Tensor, **_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        feature_teacher = returned(self.teach(image)[1])
        logits_student, _features, feature_student = self.map_student.run(self.student, image)
        maps_student = classified(self.student, self.map_student.classifier, feature_student, bias=False)
        maps_teacher = classified(self.teacher, self.map_teacher.classifier, feature_teacher, bias=False)
        loss_cat = catkd_loss(maps_student, maps_teacher, self.own.RESOLUTION, self.own.NORMALISE)
        return logits_student, {
            "loss_ce": self.own.CE_WEIGHT * F.cross_entropy(logits_student, target),
            "loss_kd": self.own.BETA * loss_cat,
        }
