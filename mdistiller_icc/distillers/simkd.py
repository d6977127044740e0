"""SimKD: the student makes the teacher's last map, and the teacher's own classifier decides."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.classifier import classifier_layer
from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.distillers.last_map import LastMap, classified, returned
from mdistiller_icc.losses.fitnet import hint_loss
from mdistiller_icc.settings import count


class SimKD(Distiller):
    """``L = MSE(project(F_s), F_t)`` alone; predictions are the teacher's classifier on the projected map.

    Chen et al., "Knowledge Distillation with the Reused Teacher Classifier", CVPR 2022, arXiv:2203.14001, and
    the authors' released code [A]. The projector stays at inference, so its parameters are the student's: they
    are in the checkpoint and in ``get_extra_parameters``. A ``student_*`` file is without it and of no use alone.

    Raises:
        UserError: a network has no last map.
    """

    channels_last = True
    teacher: nn.Module
    settings = {"FACTOR": count(2, "By how much the projector is narrower than the teacher's last map, f.", most=64)}

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher)
        self.map_student = LastMap(student, cfg, "student")
        self.map_teacher = LastMap(teacher, cfg, "teacher")
        (width_student, *side_student), (width_teacher, *side_teacher) = self.map_student.shape, self.map_teacher.shape
        self.side = (min(side_student[0], side_teacher[0]), min(side_student[1], side_teacher[1]))
        """Both maps' height and width: the smaller ones."""
        self.project = projector(width_student, width_teacher, cfg.SIMKD.FACTOR)
        classifier_layer(student, self.map_student.classifier).requires_grad_(False)  # nobody asks it

    def forward_train(self, image: Tensor, target: Tensor, **_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        feature_teacher = returned(self.teach(image)[1])
        projected = self._projected(image)
        logits = self._decided(projected)
        loss = hint_loss(projected, F.adaptive_avg_pool2d(feature_teacher, self.side))
        return logits, {"loss_ce": loss.new_zeros(()), "loss_kd": loss}

    def forward_test(self, image: Tensor) -> Tensor:
        return self._decided(self._projected(image))

    def _projected(self, image: Tensor) -> Tensor:
        _logits, _features, feature = self.map_student.run(self.student, image)
        projected: Tensor = self.project(F.adaptive_avg_pool2d(feature, self.side))
        return projected

    def _decided(self, projected: Tensor) -> Tensor:
        return classified(self.teacher, self.map_teacher.classifier, projected.mean((2, 3), keepdim=True))[:, :, 0, 0]


def projector(width_student: int, width_teacher: int, factor: int) -> nn.Sequential:
    """1×1, 3×3 and 1×1 convolutions, each with batch norm and ReLU, the first two 1/``factor`` as wide as the last."""
    narrow = max(1, width_teacher // factor)
    layers: list[nn.Module] = []
    for before, after, kernel in ((width_student, narrow, 1), (narrow, narrow, 3), (narrow, width_teacher, 1)):
        convolution = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)
