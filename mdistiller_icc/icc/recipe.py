"""ICC: how a teacher is trained so that its soft labels keep the differences inside a class.

"Enriching Knowledge Distillation with Intra-Class Contrastive Learning", arXiv 2509.22053.
``L_Teacher = L_CE + λ · L_Intra`` [B]. This file is the algorithm, in the paper's order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.distiller import Distiller
from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.icc.diagnostics import EpochMeans
from mdistiller_icc.icc.feature import select
from mdistiller_icc.icc.margin import margin
from mdistiller_icc.icc.positive import POSITIVES, Memory, Positive, second_views
from mdistiller_icc.icc.queue import POLICIES, ClassQueues
from mdistiller_icc.icc.weight import FixedWeight, GradNormWeight
from mdistiller_icc.losses.intra_class import unit
from mdistiller_icc.probe import IMAGE_SIZE, probe


class ICC(Distiller):
    """The teacher recipe. The network trained is ``student``; there is nobody it learns from.

    Args:
        student: the future teacher.
        teacher: accepted, as every distiller does, and not used.
        cfg: reads the node ``ICC`` and ``DATASET.TYPE``.

    Raises:
        UserError: a setting is out of range.
    """

    teacher_kind = "icc"

    def __init__(self, student: nn.Module, teacher: nn.Module | None, cfg: CfgNode) -> None:
        super().__init__(student)
        node = check(cfg.ICC)
        logits, features = probe(student, IMAGE_SIZE[cfg.DATASET.TYPE])
        dim = select(logits, features, node.FEATURE).shape[1]
        self.feature_name = node.FEATURE
        self.margin = node.MARGIN
        self.warmup_epochs = node.WARMUP
        self.queues = ClassQueues(logits.shape[1], node.QUEUE.SIZE, dim, node.QUEUE.POLICY)
        self.positive = _positive(node, dim)
        self.weight = _weight(node)
        # With λ = 0 nothing of ICC runs, so training is plain training to the last bit.
        self.off = node.WEIGHT_MODE == "fixed" and node.WEIGHT == 0
        self.views: Callable[[Tensor], Tensor] | None = None
        self.batch_index: Tensor | None = None  # for a host that passes no indices
        self.means = EpochMeans()

    @staticmethod
    def defaults() -> CfgNode:
        """λ [B: 0.01 to 0.03]; δ and n are unknown, the rest are our readings: docs/icc.md says why."""
        return CfgNode(
            {
                "WEIGHT": 0.02,
                "WEIGHT_MODE": "fixed",
                "GRADNORM": {"SHARE": 0.1, "MOMENTUM": 0.99, "MAX": 1.0},
                "MARGIN": 0.3,
                "TEMPERATURE": 1.0,
                "POSITIVE": "view",
                "QUEUE": {"SIZE": 8, "POLICY": "clear"},
                "FEATURE": "pooled_feat",
                "WARMUP": 0,
                "MEMORY_LIMIT": 1.0,
            }
        )

    def attach(self, train_loader: Any) -> None:
        """Learn where second views come from and how many training images there are."""
        self.views = second_views(train_loader)
        self.positive.attach(train_loader.num_data if hasattr(train_loader, "num_data") else len(train_loader.dataset))

    def forward_train(
        self, image: Tensor, target: Tensor, *, index: Tensor | None = None, epoch: int = 1, **_: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if self.off or epoch <= self.warmup_epochs:
            logits, _features = self.student(image)
            return logits, {"loss_ce": F.cross_entropy(logits, target)}
        index = self.batch_index if index is None else index
        if index is None or self.views is None:
            raise UserError("ICC needs the images' indices and their second views: set SOLVER.TRAINER icc")

        # Second views of earlier anchors travel in this batch; cross-entropy stays on the ordinary samples.
        batch = len(image)
        wanted = self.positive.views_wanted(index)
        if len(wanted):
            image = torch.cat([image, self.views(wanted)])
        logits, features = self.student(image)
        feature = select(logits, features, self.feature_name)
        f = unit(feature)
        logits = logits[:batch]
        loss_ce = F.cross_entropy(logits, target)

        # Definition 3.1 and Eq. (5): only samples with ρ > δ take part.
        passed = margin(logits.detach(), target) > self.margin
        # Section 3.3: they meet their class's queue, whose entries are the negatives x⁻ ∈ C(x).
        met = self.queues.meet(f[:batch], target, index, passed)
        # Eq. (3), on the anchors that have a positive and a negative.
        loss_intra, anchors = self.positive.loss(f[:batch], f[batch:], index, met)
        # L_Teacher = L_CE + λ · L_Intra.
        weight = self.weight(loss_ce, loss_intra, feature)

        self.means.add("icc/passed", passed.sum(), batch)
        self.means.add("icc/anchors", anchors, batch)
        self.means.add("icc/loss_intra", loss_intra.detach() * anchors, anchors)
        self.means.add("icc/weight", weight, 1)
        return logits, {"loss_ce": loss_ce, "loss_kd": weight * loss_intra}

    def diagnostics(self) -> dict[str, float]:
        """What happened since last asked: shares of samples that passed and were anchors, L_Intra, λ, queue fill."""
        fill = self.queues.count.float().mean() / self.queues.size
        return self.means.read() | {"icc/queue_fill": fill.item()}


def check(node: CfgNode) -> CfgNode:
    """Return the node ``ICC`` if every setting is in range.

    Raises:
        UserError: naming the first that is not.
    """
    for key, value, choices in (
        ("POSITIVE", node.POSITIVE, tuple(POSITIVES)),
        ("QUEUE.POLICY", node.QUEUE.POLICY, POLICIES),
        ("WEIGHT_MODE", node.WEIGHT_MODE, ("fixed", "gradnorm")),
    ):
        if value not in choices:
            raise UserError(f"ICC.{key} is one of {', '.join(choices)}, not '{value}'{nearest(value, choices)}")
    for key, value, wanted, right in (
        ("WEIGHT", node.WEIGHT, "at least 0", node.WEIGHT >= 0),
        ("MARGIN", node.MARGIN, "between -1 and 1", -1 <= node.MARGIN <= 1),
        ("TEMPERATURE", node.TEMPERATURE, "above 0", node.TEMPERATURE > 0),
        ("QUEUE.SIZE", node.QUEUE.SIZE, "at least 1", node.QUEUE.SIZE >= 1),
        ("WARMUP", node.WARMUP, "at least 0", node.WARMUP >= 0),
        ("GRADNORM.SHARE", node.GRADNORM.SHARE, "at least 0", node.GRADNORM.SHARE >= 0),
        ("GRADNORM.MOMENTUM", node.GRADNORM.MOMENTUM, "in [0, 1)", 0 <= node.GRADNORM.MOMENTUM < 1),
        ("GRADNORM.MAX", node.GRADNORM.MAX, "above 0", node.GRADNORM.MAX > 0),
    ):
        if not right:
            raise UserError(f"ICC.{key} must be {wanted}, not {value}")
    return node


def _positive(node: CfgNode, dim: int) -> Positive:
    if node.POSITIVE == "memory":
        return Memory(dim, node.TEMPERATURE, node.MEMORY_LIMIT)
    return POSITIVES[node.POSITIVE](dim, node.TEMPERATURE)


def _weight(node: CfgNode) -> nn.Module:
    if node.WEIGHT_MODE == "fixed":
        return FixedWeight(node.WEIGHT)
    return GradNormWeight(node.GRADNORM.SHARE, node.GRADNORM.MOMENTUM, node.GRADNORM.MAX)
