"""Plain training, without a teacher."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.distillers.base import Distiller


class Vanilla(Distiller):
    """Train the student on its labels alone; a teacher and a configuration may be passed and are not used."""

    teacher_kind = "vanilla"
    channels_last = True

    def __init__(self, student: nn.Module, teacher: nn.Module | None = None, cfg: CfgNode | None = None) -> None:
        super().__init__(student)

    def forward_train(self, image: Tensor, target: Tensor, **_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        logits_student = self.student(image)[0]
        return logits_student, {"loss_ce": F.cross_entropy(logits_student, target)}
