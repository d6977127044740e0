"""ICC: how a teacher is trained so that its soft labels keep the differences inside a class.

"Enriching Knowledge Distillation with Intra-Class Contrastive Learning", arXiv 2509.22053.
``L_Teacher = L_CE + λ · L_Intra`` [B]. The algorithm is `ICCLoss`, in
``icc/recipe.py``; this is what trainers need around it.
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
from mdistiller_icc.data import described
from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.errors import UserError
from mdistiller_icc.icc import settings
from mdistiller_icc.icc.feature import select
from mdistiller_icc.icc.recipe import ICCLoss
from mdistiller_icc.icc.settings import SETTINGS
from mdistiller_icc.icc.signatures import Signatures
from mdistiller_icc.icc.view_loader import ItemViews, ViewLoader
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
        logits, features = probe(student, described(cfg).image_size)
        num_classes, dim = logits.shape[1], select(logits, features, node.FEATURE).shape[1]
        kept = num_classes + cfg.SOLVER.BATCH_SIZE  # queues, and those that a batch meets
        check_memory("ICC.QUEUE.SIZE", node.QUEUE.SIZE, kept * node.QUEUE.SIZE * dim * 4)
        self.feature_name = node.FEATURE
        self.warmup_epochs = node.WARMUP
        self.settled = node.WARMUP + 1
        self.weak = settings.weak(node)
        self.loss = loss_of(node, num_classes, dim)
        self.views: Callable[[Tensor, slice], Tensor] | None = None
        self.batch_index: Tensor | None = None  # for a host that passes no indices
        self.classifier = classifier_name(student, "student")
        self.signatures = Signatures(num_classes, self.loss.queues.features.nbytes)
        self.loss.keep_ranks_apart(self)
        nn.Module.register_load_state_dict_pre_hook(self, _rename)

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        settings.check(cfg)

    def attach(self, train_loader: ViewLoader | DataLoader[Any]) -> None:
        """Learn where second views come from and how many training images there are."""
        loader = ItemViews(train_loader) if isinstance(train_loader, DataLoader) else train_loader
        self.views = loader.views
        self.loss.positive.attach(loader.num_data)
        self.loss.gather = self.gather

    def forward_train(
        self, image: Tensor, target: Tensor, *, index: Tensor | None = None, epoch: int = 1, **_: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        # With λ = 0 nothing of ICC runs, so training is plain training to the last bit.
        if self.loss.off or epoch <= self.warmup_epochs:
            logits, _features = self.student(image)
            return logits, {"loss_ce": F.cross_entropy(logits, target)}
        index = self.batch_index if index is None else index
        if index is None or self.views is None:
            raise UserError("ICC needs the images' indices and their second views: set SOLVER.TRAINER icc")

        # Second views of earlier anchors travel in this batch; cross-entropy stays on the ordinary samples.
        logits, features = self.student(self._with_second_views(image, index))
        feature = select(logits, features, self.feature_name)
        return logits[: len(target)], self.losses(logits, feature, target, index)

    @torch.compiler.disable  # a loader is no network to compile
    def _with_second_views(self, image: Tensor, index: Tensor) -> Tensor:
        assert self.views is not None
        wanted = self.loss.positive.second_views(index, self.loss.of_all)
        return torch.cat([image, self.views(wanted, self.loss.share(len(wanted)))]) if len(wanted) else image

    @torch.compiler.disable
    def losses(self, logits: Tensor, feature: Tensor, target: Tensor, index: Tensor) -> dict[str, Tensor]:
        """``loss_ce`` = L_CE and ``loss_kd`` = λ · L_Intra; the shapes are those of `ICCLoss`."""
        with torch.autocast(feature.device.type, enabled=False):
            loss_ce = self.classification_loss(widened(logits[: len(target)]), feature, target)
        return {
            "loss_ce": loss_ce,
            "loss_kd": self.loss(logits, feature, target, index, classifier=self.class_centers()),
        }

    def classification_loss(self, logits: Tensor, feature: Tensor, target: Tensor) -> Tensor:
        """L_CE of logits ``(B, C)``; an objective of another kind may look at the feature ``(B + V, D)`` instead."""
        return F.cross_entropy(logits, target)

    def class_centers(self) -> Tensor | None:
        """The weights ``(C, D)`` that make logits of the feature; None if it is not what the classifier reads."""
        weights = centers(self.student, self.classifier)
        return weights if self.feature_name == "pooled_feat" and weights.shape[1] == self.loss.dim else None

    def diagnostics(self) -> dict[str, float | None]:
        """The figures of `ICCLoss`."""
        return self.loss.figures()

    def warnings(self, metrics: dict[str, Any]) -> list[str]:
        """The failure signatures that begin to show in an epoch's metrics, a line each; first of all a weak weight."""
        first = metrics["epoch"] == 1
        if self.loss.off:
            return [settings.PLAIN] if first else []
        told = [self.weak] if first and self.weak else []
        return told + [f"ICC, {line}" for line in self.signatures.see(metrics)]


def loss_of(node: CfgNode, num_classes: int, dim: int) -> ICCLoss:
    """`ICCLoss` with the settings of the node ``ICC``, for C classes and features of length D."""
    return ICCLoss(
        num_classes,
        dim,
        weight=node.WEIGHT,
        gradnorm_share=node.GRADNORM.SHARE if node.WEIGHT_MODE == "gradnorm" else None,
        margin=node.MARGIN,
        similarity=node.SIMILARITY,
        temperature=node.TEMPERATURE,
        reduction=node.REDUCTION,
        positive=node.POSITIVE,
        queue_size=node.QUEUE.SIZE,
        queue_policy=node.QUEUE.POLICY,
    )


def _rename(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Runs that were begun when the loss was no module of its own have its state without a name in front."""
    own = module.state_dict()
    for key in list(state):
        name = key.removeprefix(prefix)
        if key.startswith(prefix) and name not in own and f"loss.{name}" in own:
            state[f"{prefix}loss.{name}"] = state.pop(key)
