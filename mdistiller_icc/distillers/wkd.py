"""WKD on logits: what it costs to move the student's prediction to the teacher's, between classes that are alike."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.classifier import centers, classifier_name
from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.losses.nkd import target_loss
from mdistiller_icc.losses.wkd import class_cost, wkd_loss
from mdistiller_icc.settings import Setting, count, temperature, weight


class WKD(LogitDistiller):
    """``L = CE − mean p_t[y] log p_s[y] + w · transport``, the method's logit form, WKD-L.

    Lv, Yang & Li, NeurIPS 2024, arXiv:2412.08139, and the authors' released code [A]. w and T differ per pair;
    the defaults are those of resnet32x4 → resnet8x4. Two classes are alike by the cosine of their rows in the
    teacher's classifier, which the authors have as the alternative to their CKA of features.
    """

    node = "WKD"
    settings = {
        "CE_WEIGHT": weight(1.0, "cross-entropy"),
        "WEIGHT": weight(600.0, "the transport, w"),
        "TEMPERATURE": temperature(8.0),
        "KAPPA": Setting(1.0, "How fast the cost rises as classes differ, κ.", least=0, most=1e3),
        "REGULARISATION": Setting(0.05, "Regularisation of the entropic transport.", least=1e-2, most=1e3),
        "ITERATIONS": count(10, "Steps of Sinkhorn's iteration.", most=1000),
        "DECAY_FROM": count(150, "Epoch from which w falls to 0 along a cosine, until the last.", 0, 10**6),
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg)
        rows = F.normalize(centers(teacher, classifier_name(teacher, "teacher")).detach(), dim=1)
        self.cost: Tensor
        self.register_buffer("cost", class_cost(rows @ rows.T, self.own.KAPPA), persistent=False)
        self.last_epoch = cfg.get("SOLVER", {}).get("EPOCHS", 0)
        self.length_counts_after = self.own.DECAY_FROM
        self.settled = None if self.own.DECAY_FROM < self.last_epoch else 1

    def logit_loss(self, logits_student: Tensor, logits_teacher: Tensor, target: Tensor, epoch: int) -> Tensor:
        own = self.own
        moved = wkd_loss(
            logits_student, logits_teacher, target, self.cost, own.TEMPERATURE, own.REGULARISATION, own.ITERATIONS
        )
        weight: float = own.WEIGHT * fall(epoch, own.DECAY_FROM, self.last_epoch)
        return target_loss(logits_student, logits_teacher, target) + weight * moved


def fall(epoch: int, start: int, end: int) -> float:
    """A factor that is 1 until ``start`` and falls to 0 at ``end`` along a cosine; 1 throughout if that comes first.

    >>> [round(fall(epoch, 2, 4), 3) for epoch in (1, 2, 3, 4)]
    [1.0, 1.0, 0.5, 0.0]
    """
    if epoch <= start or end <= start:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (epoch - start) / (end - start)))
