"""PCKD: rotated views, aligned features and class centres, contrast over classes, hard samples held back."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.classifier import centers, centers_with_bias, classifier_name
from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.distillers.logits import transform
from mdistiller_icc.errors import UserError
from mdistiller_icc.losses.kd import kd_loss
from mdistiller_icc.losses.pckd import (
    category_contrastive_loss,
    center_alignment_loss,
    feature_alignment_loss,
)
from mdistiller_icc.losses.preview import preview_weights
from mdistiller_icc.settings import Setting, count, temperature, weight


class PCKD(Distiller):
    """``L = L_CE + d·mean(v·L_KD) + b·mean(v·L_CC) + a·L_CA + f·L_FA``.

    Ding et al., "Preview-based Category Contrastive Learning for Knowledge Distillation",
    arXiv:2410.14143 (IEEE TCSVT 2025), and the authors' released code [A]. Each of the B images becomes
    four rotated views; ``L_CE`` and ``L_KD`` see the un-rotated ones, ``L_CC`` and ``L_FA`` all 4B. The
    MLP, E_s and E_t are trained with the student. The preview weight v carries its gradient in ``L_KD`` and
    is a constant in ``L_CC``, as in that code. Published weights are a = 1, b = 0.05 and f = 20 with
    d = 0 [A]; d of the full method is not known and is 1 here [R].

    Args:
        student: the network that is trained; its last linear layer holds the class centres.
        teacher: the network it learns from, likewise.
        cfg: reads the node ``PCKD``: ``LOSS`` has ``KD_WEIGHT`` = d, ``CC_WEIGHT`` = b, ``CA_WEIGHT`` = a,
            ``FA_WEIGHT`` = f.

    Raises:
        UserError: a classifier cannot be found, or the two models differ in their number of classes.
    """

    channels_last = True
    takes_standardised = True
    settings = {
        "TEMPERATURE": temperature(4.0),
        "CONTRAST": {
            "TEMPERATURE": temperature(4.0, "Temperature of the contrast over classes, τ."),
            "BASE_TEMPERATURE": temperature(0.07, "Temperature that it is scaled by, τ₀."),
        },
        "PREVIEW_GROWTH": Setting(1.005, "Growth per epoch of the difficulty that is allowed.", least=0.5, most=2),
        "MLP_RATIO": count(16, "Width of the MLP's hidden layer, in lengths of the teacher's feature.", most=64),
        "LOSS": {
            "CE_WEIGHT": weight(1.0, "cross-entropy"),
            "KD_WEIGHT": weight(1.0, "the divergence from the teacher, d"),
            "CC_WEIGHT": weight(0.05, "the contrast over classes, b"),
            "CA_WEIGHT": weight(1.0, "the alignment of class centres, a"),
            "FA_WEIGHT": weight(20.0, "the alignment of features, f"),
        },
    }
    teacher: nn.Module

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher)
        node = cfg.PCKD
        self.temperature = node.TEMPERATURE
        self.contrast = (node.CONTRAST.TEMPERATURE, node.CONTRAST.BASE_TEMPERATURE)
        self.preview_growth = node.PREVIEW_GROWTH
        self.weights = node.LOSS
        self.transform = transform(cfg)

        # Paths, not layers: a second reference would put them into the checkpoint twice.
        self.classifier_student = classifier_name(student, "student")
        self.classifier_teacher = classifier_name(teacher, "teacher")
        classes_student, dim_student = centers(student, self.classifier_student).shape
        classes_teacher, dim_teacher = centers(teacher, self.classifier_teacher).shape
        if classes_student != classes_teacher:
            raise UserError(f"PCKD: the student has {classes_student} classes, the teacher {classes_teacher}")
        hidden = node.MLP_RATIO * dim_teacher
        self.project = nn.Sequential(
            nn.Linear(dim_student, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, dim_teacher)
        )
        self.embed_student = nn.Linear(dim_student, dim_student)
        self.embed_teacher = nn.Linear(dim_student, dim_teacher)

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        if cfg.SOLVER.EPOCHS * math.log(cfg.PCKD.PREVIEW_GROWTH) > 80:  # 2^128 is float32's largest
            raise UserError(
                f"PCKD.PREVIEW_GROWTH {cfg.PCKD.PREVIEW_GROWTH} to the power of SOLVER.EPOCHS {cfg.SOLVER.EPOCHS} "
                "is too large a number"
            )

    def forward_train(
        self, image: Tensor, target: Tensor, *, epoch: int = 1, **_: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        views = rotated(image)
        logits_teacher, features_teacher = self.teach(views)
        logits_student, features_student = self.student(views)
        logits_student, logits_teacher = logits_student[: len(image)], logits_teacher[: len(image)]
        pooled_student = features_student["pooled_feat"].flatten(1)
        pooled_teacher = features_teacher["pooled_feat"].flatten(1)

        ce = F.cross_entropy(logits_student, target, reduction="none")
        preview = preview_weights(ce, self.of_all(ce)[0].mean(), epoch, self.preview_growth)
        own, others = self._relations_to_centers(pooled_student)
        every_own, every_other, every_target, every_preview = self.of_all(
            own, others, target.repeat(4), preview.detach().repeat(4)
        )
        loss_cc = category_contrastive_loss(every_own, every_other, every_target, every_preview, *self.contrast)
        shapes = self.transform(logits_student), self.transform(logits_teacher)

        loss_kd = (
            self.weights.KD_WEIGHT * kd_loss(*shapes, self.temperature, preview)
            + self.weights.CC_WEIGHT * loss_cc
            + self.weights.CA_WEIGHT
            * center_alignment_loss(
                centers_with_bias(self.student, self.classifier_student),
                centers_with_bias(self.teacher, self.classifier_teacher),
            )
            + self.weights.FA_WEIGHT * feature_alignment_loss(self.project(pooled_student), pooled_teacher)
        )
        return logits_student, {"loss_ce": self.weights.CE_WEIGHT * ce.mean(), "loss_kd": loss_kd}

    def _relations_to_centers(self, pooled_student: Tensor) -> tuple[Tensor, Tensor]:
        """u = W_s·norm(E_s z^s) and v = W_t·norm(E_t z^s) of all views, (4B, C) each."""
        own = F.normalize(self.embed_student(pooled_student), dim=1)
        others = F.normalize(self.embed_teacher(pooled_student), dim=1)
        u = F.linear(own, centers(self.student, self.classifier_student))
        v = F.linear(others, centers(self.teacher, self.classifier_teacher))
        return u, v


def rotated(image: Tensor) -> Tensor:
    """Every image turned by 0°, 90°, 180° and 270°, (4B, C, H, H), the un-rotated ones first.

    Raises:
        UserError: the images are not square, so a turned one has another shape.
    """
    height, width = image.shape[2:]
    if height != width:
        raise UserError(f"PCKD turns its images by 90°, so they must be square; these are {height}×{width}")
    views = torch.cat([torch.rot90(image, turns, (2, 3)) for turns in range(4)])
    # A quarter turn swaps strides, and the views would no longer lie in memory as the networks want them.
    channels_last = image.is_contiguous(memory_format=torch.channels_last)
    return views.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
