"""The frame of the methods that compare logits, and the standardising that any of them can be told to do first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.distillers.warmup import warmup
from mdistiller_icc.losses.standardise import standardise


def transform(cfg: CfgNode) -> Callable[[Tensor], Tensor]:
    """What a method does to both networks' logits before it compares them: nothing, unless ``LOGIT_STAND`` is set."""
    return standardise if cfg.get("DISTILLER", {}).get("LOGIT_STAND", False) else _as_they_are


def _as_they_are(logits: Tensor) -> Tensor:
    return logits


class LogitDistiller(Distiller):
    """Cross-entropy plus a loss between the two networks' logits.

    A method has ``node``, the name of its node in the configuration, and defines `logit_loss`. Of its settings
    the frame reads ``CE_WEIGHT`` and, where it has it, ``WARMUP``, over whose epochs the loss sets in.
    Cross-entropy always sees the logits as they are.

    Args:
        student: the network that is trained.
        teacher: the network it learns from.
        cfg: reads the method's node and ``DISTILLER.LOGIT_STAND``.
    """

    channels_last = True
    takes_standardised = True
    relates_images: ClassVar[bool] = False
    """Whether the loss is one of the whole batch, whose rows it then sees."""

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher)
        self.own = cfg[self.node]
        self.ce_weight = self.own.get("CE_WEIGHT", 1.0)
        self.warmup_epochs = self.own.get("WARMUP", 0)
        self.settled = max(1, self.warmup_epochs)
        self.transform = transform(cfg)

    def logit_loss(self, logits_student: Tensor, logits_teacher: Tensor, target: Tensor, epoch: int) -> Tensor:
        """The method's loss, weighted but for the warm-up, from logits (B, C) that are standardised if so asked."""
        raise NotImplementedError(f"{type(self).__name__} defines no logit_loss")

    def forward_train(
        self, image: Tensor, target: Tensor, *, epoch: int = 1, **_: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logits_teacher = self.teach(image)[0]
        logits_student = self.student(image)[0]
        rows: tuple[Tensor, ...] = (self.transform(logits_student), self.transform(logits_teacher), target)
        student, teacher, label = self.of_all(*rows) if self.relates_images else rows
        loss = self.logit_loss(student, teacher, label, epoch)
        return logits_student, self.totals(logits_student, target, loss, epoch)

    def totals(self, logits_student: Tensor, target: Tensor, loss: Tensor, epoch: int) -> dict[str, Tensor]:
        """Both totals: the cross-entropy of the logits (B, C), and the method's loss as far as it has set in."""
        if self.warmup_epochs:
            loss = warmup(epoch, self.warmup_epochs) * loss
        return {"loss_ce": self.ce_weight * F.cross_entropy(logits_student, target), "loss_kd": loss}
