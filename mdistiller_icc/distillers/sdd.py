"""SDD: a logit method not only on the whole image's prediction but on those of its parts."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.distillers.last_map import LastMap, classified, returned
from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.errors import UserError
from mdistiller_icc.losses.dkd import dkd_loss
from mdistiller_icc.losses.kd import kd_loss
from mdistiller_icc.losses.nkd import nkd_loss
from mdistiller_icc.losses.sdd import cells, sdd_loss
from mdistiller_icc.settings import Setting, temperature, warmup_epochs, weight


class SDD(LogitDistiller):
    """``L = CE + warm-up · Σ w · ℓ / (B · N)`` over N cells of the last map, ℓ the loss of KD, DKD or NKD.

    Wei, Luo & Luo, "Scale Decoupled Distillation", CVPR 2024, arXiv:2403.13512, and the authors' released code
    [A]. The defaults are its settings for pairs of one architecture; others have ``SCALES [1, 2, 4]``, and DKD's
    β differs per pair. Their code of NKD keeps the target among the other classes; this is NKD [R].

    Raises:
        UserError: ``SDD.SCALES`` does not begin with 1 and rise, or a network has no last map.
    """

    teacher: nn.Module
    node = "SDD"
    settings = {
        "BASE": Setting("DKD", "The method whose loss a cell has.", choices=("KD", "DKD", "NKD")),
        "SCALES": Setting([1, 2], "Cells along each side of the grids, ascending from 1.", 1, 64, length=(1, 8)),
        "TEMPERATURE": temperature(4.0),
        "KD": {
            "CE_WEIGHT": weight(0.1, "cross-entropy"),
            "KD_WEIGHT": weight(0.9, "the divergence from the teacher"),
            "WARMUP": warmup_epochs(0),
        },
        "DKD": {
            "CE_WEIGHT": weight(1.0, "cross-entropy"),
            "ALPHA": weight(1.0, "the target class's part, α"),
            "BETA": weight(8.0, "the other classes' part, β"),
            "WARMUP": warmup_epochs(20),
        },
        "NKD": {
            "CE_WEIGHT": weight(1.0, "cross-entropy"),
            "GAMMA": weight(8.0, "the other classes, γ"),
            "WARMUP": warmup_epochs(20),
        },
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg)
        self.base = self.own[self.own.BASE]
        self.ce_weight, self.warmup_epochs = self.base.CE_WEIGHT, self.base.WARMUP
        self.settled = max(1, self.warmup_epochs)
        self.map_student = LastMap(student, cfg, "student")
        self.layers = self.map_student.layers
        self.map_teacher = LastMap(teacher, cfg, "teacher")

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        scales = list(cfg.SDD.SCALES)
        if scales[0] != 1 or scales != sorted(set(scales)):
            raise UserError(f"SDD.SCALES wants numbers that rise from 1, got {scales}")

    def forward_train(
        self, image: Tensor, target: Tensor, *, epoch: int = 1, **_: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        feature_teacher = returned(self.teach(image)[1])
        logits_student, _features, feature_student = self.map_student.run(self.student, image)
        cells_student = self._of_cells(self.student, self.map_student, feature_student)
        cells_teacher = self._of_cells(self.teacher, self.map_teacher, feature_teacher)
        loss = sdd_loss(self.transform(cells_student), self.transform(cells_teacher), target, self._loss)
        return logits_student, self.totals(logits_student, target, loss, epoch)

    def _of_cells(self, network: nn.Module, last: LastMap, feature: Tensor) -> Tensor:
        """The logits of every cell, (B, C, N)."""
        return classified(network, last.classifier, cells(feature, self.own.SCALES)[..., None])[..., 0]

    def _loss(self, student: Tensor, teacher: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        base, temperature = self.base, self.own.TEMPERATURE
        if self.own.BASE == "KD":
            return kd_loss(student, teacher, temperature, base.KD_WEIGHT * weight)
        if self.own.BASE == "DKD":
            return dkd_loss(student, teacher, target, base.ALPHA, base.BETA, temperature, weight)
        return nkd_loss(student, teacher, target, base.GAMMA, temperature, weight)
