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
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from mdistiller_icc.classifier import centers, classifier_name
from mdistiller_icc.data import data_set
from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.errors import UserError
from mdistiller_icc.icc import settings
from mdistiller_icc.icc.feature import select
from mdistiller_icc.icc.positive import POSITIVES, ItemViews, ViewLoader
from mdistiller_icc.icc.queue import ClassQueues
from mdistiller_icc.icc.settings import SETTINGS
from mdistiller_icc.icc.signatures import Signatures
from mdistiller_icc.icc.watch import Watch
from mdistiller_icc.icc.weight import FixedWeight, GradNormWeight, cross_entropy_pull, intra_class_pull
from mdistiller_icc.losses.intra_class import intra_class_loss, scaled
from mdistiller_icc.losses.margin import margin
from mdistiller_icc.losses.precision import widened
from mdistiller_icc.probe import probe
from mdistiller_icc.settings import check_memory


class ICC(Distiller):
    """The teacher recipe. The network trained is ``student``; there is nobody it learns from.

    Args:
        student: the future teacher.
        teacher: accepted, as every distiller does, and not used.
        cfg: reads the node ``ICC`` and ``DATASET.TYPE``.

    Raises:
        UserError: the network has no such feature, or the queues do not fit into memory.
    """

    teacher_kind = "icc"
    channels_last = True
    settings = SETTINGS

    def __init__(self, student: nn.Module, teacher: nn.Module | None, cfg: CfgNode) -> None:
        super().__init__(student)
        node = cfg.ICC
        logits, features = probe(student, data_set(cfg.DATASET.TYPE).image_size)
        num_classes, dim = logits.shape[1], select(logits, features, node.FEATURE).shape[1]
        kept = num_classes + cfg.SOLVER.BATCH_SIZE  # queues, and those that a batch meets
        check_memory("ICC.QUEUE.SIZE", node.QUEUE.SIZE, kept * node.QUEUE.SIZE * dim * 4)
        self.feature_name = node.FEATURE
        self.similarity = node.SIMILARITY
        self.margin = node.MARGIN
        self.temperature = node.TEMPERATURE
        self.reduction = node.REDUCTION
        self.warmup_epochs = node.WARMUP
        self.settled = node.WARMUP + 1
        self.queues = ClassQueues(num_classes, node.QUEUE.SIZE, dim, node.QUEUE.POLICY)
        self.positive = POSITIVES[node.POSITIVE](dim, node.QUEUE.SIZE)
        self.adaptive = node.WEIGHT_MODE == "gradnorm"
        self.weight = GradNormWeight(node.GRADNORM.SHARE) if self.adaptive else FixedWeight(node.WEIGHT)
        # With λ = 0 nothing of ICC runs, so training is plain training to the last bit.
        self.off = node.WEIGHT == 0 and not self.adaptive
        self.views: Callable[[Tensor, slice], Tensor] | None = None
        self.batch_index: Tensor | None = None  # for a host that passes no indices
        self.classifier = classifier_name(student, "student")
        self.watch = Watch(num_classes)
        self.signatures = Signatures(num_classes, self.queues.features.nbytes)
        self._keep_ranks_apart()

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        settings.check(cfg)

    def attach(self, train_loader: ViewLoader | DataLoader[Any]) -> None:
        """Learn where second views come from and how many training images there are."""
        loader = ItemViews(train_loader) if isinstance(train_loader, DataLoader) else train_loader
        self.views = loader.views
        self.positive.attach(loader.num_data)
        self._keep_ranks_apart()

    def _keep_ranks_apart(self) -> None:
        """Tell DistributedDataParallel not to copy rank 0's queues and tables over the other ranks'."""
        own = [name for name, _ in self.named_buffers() if not name.startswith("student.")]
        self._ddp_params_and_buffers_to_ignore = own

    def get_extra_state(self) -> dict[str, str]:
        return {"similarity": self.similarity}  # version 0.1.0 knew cosines alone; its runs do not go on with others

    def set_extra_state(self, state: dict[str, str]) -> None:
        if state["similarity"] != self.similarity:
            raise ValueError(f"its queues hold features for ICC.SIMILARITY {state['similarity']}")

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
        logits, features = self.student(self._with_second_views(image, index))
        feature = select(logits, features, self.feature_name)
        logits = logits[: len(target)]
        return logits, self.losses(logits, feature, target, index)

    @torch.compiler.disable  # a loader is no network to compile
    def _with_second_views(self, image: Tensor, index: Tensor) -> Tensor:
        assert self.views is not None
        wanted = self.positive.second_views(index, self.of_all)
        return torch.cat([image, self.views(wanted, self.own(len(wanted)))]) if len(wanted) else image

    @torch.compiler.disable  # the queues change in place, and gradients are looked at before the backward pass
    def losses(self, logits: Tensor, feature: Tensor, target: Tensor, index: Tensor) -> dict[str, Tensor]:
        """``loss_ce`` = L_CE and ``loss_kd`` = λ · L_Intra.

        Args:
            logits: of the batch, ``(B, C)``.
            feature: z of the batch and then of the second views, ``(B + V, D)``.
            target: the batch's classes, ``(B,)``.
            index: the batch's images' numbers, ``(B,)``.
        """
        with torch.autocast(feature.device.type, enabled=False):
            loss_ce = self.classification_loss(widened(logits), feature, target)
            f = scaled(feature, self.similarity)
            # Definition 3.1 and Eq. (5): only samples with ρ > δ take part.
            passed = margin(logits.detach(), target) > self.margin
            # Section 3.3: they meet their class's queue, whose entries are the negatives x⁻ ∈ C(x).
            met = self.queues.meet(*self.of_all(f[: len(target)].detach(), target, index, passed))
            # Eq. (3), averaged over the anchors that have a positive and a negative, or over the batch.
            tuplets, anchors = self.positive.tuplets(f, met, self.own)
            each = intra_class_loss(*tuplets, self.temperature)
            part = len(target) / len(met.images)  # of the whole batch, for which a process's losses count
            loss_intra = each.sum() / part / (anchors.clamp(min=1) if self.reduction == "anchors" else len(met.images))
            # L_Teacher = L_CE + λ · L_Intra.
            pulls = self._pulls(logits, target, each, feature, anchors, part)
            weight = self.weight(pulls)
        batch = feature[: len(target)].detach()
        self.watch.step(batch, target, passed, each.detach(), tuplets.valid.any(1).sum(), weight, pulls)
        return {"loss_ce": loss_ce, "loss_kd": weight * loss_intra}

    def classification_loss(self, logits: Tensor, feature: Tensor, target: Tensor) -> Tensor:
        """L_CE of logits ``(B, C)``; an objective of another kind may look at the feature ``(B + V, D)`` instead."""
        return F.cross_entropy(logits, target)

    def _pulls(
        self, logits: Tensor, target: Tensor, each: Tensor, feature: Tensor, anchors: Tensor, part: float
    ) -> Tensor | None:
        """How strongly L_CE and L_Intra pull at the feature, ``(2,)``; None at steps that need not know."""
        comparable = self.feature_name in ("pooled_feat", "logits")
        if not comparable or not (self.adaptive or self.watch.share_is_due):
            return None
        classifier = centers(self.student, self.classifier)
        of_ce = cross_entropy_pull(logits, target, classifier if self.feature_name == "pooled_feat" else None)
        return self.sum_of_all(torch.stack([part * of_ce, intra_class_pull(each, feature, anchors)]))

    def diagnostics(self) -> dict[str, float | None]:
        """The figures of `Watch` and how full the queues are; nothing where ICC is off."""
        if self.off:
            return {}
        queue_fill = (self.queues.count.float().mean() / self.queues.size).item()
        return self.watch.figures() | {"icc/queue_fill": queue_fill}

    def warnings(self, metrics: dict[str, Any]) -> list[str]:
        """The failure signatures that begin to show in an epoch's metrics, a line each."""
        return [] if self.off else [f"ICC, {line}" for line in self.signatures.see(metrics)]
