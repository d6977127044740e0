"""ICC: how a teacher is trained so that its soft labels keep the differences inside a class.

"Enriching Knowledge Distillation with Intra-Class Contrastive Learning", arXiv 2509.22053.
``L_Teacher = L_CE + λ · L_Intra`` [B]. This file is the algorithm, in the paper's order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.classifier import classifier_name
from mdistiller_icc.data import data_set
from mdistiller_icc.distiller import Distiller
from mdistiller_icc.epoch_means import EpochMeans
from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.geometry.distances import ClassSums
from mdistiller_icc.icc.feature import select
from mdistiller_icc.icc.margin import margin
from mdistiller_icc.icc.positive import POSITIVES, Memory, Positive, second_views
from mdistiller_icc.icc.queue import POLICIES, ClassQueues, Met
from mdistiller_icc.icc.signatures import Signatures
from mdistiller_icc.icc.weight import FixedWeight, GradNormWeight, cross_entropy_gradient, gradient_norm
from mdistiller_icc.losses.arrays import Array, alike, library
from mdistiller_icc.losses.intra_class import (
    intra_class_gradient,
    intra_class_loss,
    known_gradient,
    through_unit,
    unit,
)
from mdistiller_icc.losses.precision import HALF_TYPES, widened
from mdistiller_icc.probe import probe

# In fixed mode the gradients' share is only watched: a sample of the steps is enough.
NORMS_EVERY = 16
# What an epoch says of a figure that nothing was measured for: the share is then not known.
UNMEASURED = {
    "icc/passed": 0.0,
    "icc/anchors": 0.0,
    "icc/loss_intra": 0.0,
    "icc/weight": 0.0,
    "icc/gradient_share": None,
}


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
        logits, features = probe(student, data_set(cfg.DATASET.TYPE).image_size)
        dim = select(logits, features, node.FEATURE).shape[1]
        self.feature_name = node.FEATURE
        self.margin = node.MARGIN
        self.temperature = node.TEMPERATURE
        self.warmup_epochs = node.WARMUP
        self.settled = node.WARMUP + 1
        self.queues = ClassQueues(logits.shape[1], node.QUEUE.SIZE, dim, node.QUEUE.POLICY, node.QUEUE.GATHER)
        self.positive = _positive(node, dim)
        self.weight = _weight(node)
        # With λ = 0 nothing of ICC runs, so training is plain training to the last bit.
        self.adaptive = node.WEIGHT_MODE == "gradnorm"
        self.off = node.WEIGHT_MODE == "fixed" and node.WEIGHT == 0 and not node.THEORY
        self.views: Callable[[Tensor], Tensor] | None = None
        self.batch_index: Tensor | None = None  # for a host that passes no indices
        self.means = EpochMeans()
        self.class_sums = ClassSums(logits.shape[1])
        self.signatures = Signatures(logits.shape[1], self.queues.features.nbytes)
        self.classifier = classifier_name(student, "student")
        self.theory = node.THEORY
        self.steps = 0
        self._keep_ranks_apart()

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
                "QUEUE": {"SIZE": 8, "POLICY": "clear", "GATHER": False},
                "FEATURE": "pooled_feat",
                "WARMUP": 0,
                "MEMORY_LIMIT": 1.0,
                "THEORY": False,
            }
        )

    def attach(self, train_loader: Any) -> None:
        """Learn where second views come from and how many training images there are."""
        self.views = second_views(train_loader)
        self.positive.attach(train_loader.num_data if hasattr(train_loader, "num_data") else len(train_loader.dataset))
        self._keep_ranks_apart()

    def _keep_ranks_apart(self) -> None:
        """Tell DistributedDataParallel not to copy rank 0's queues and tables over the other ranks'."""
        own = [name for name, _ in self.named_buffers() if not name.startswith("student.")]
        self._ddp_params_and_buffers_to_ignore = own

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
        wanted, *waiting = self.positive.waiting(index)
        if len(wanted):
            image = torch.cat([image, self.views(wanted)])
        logits, features = self.student(image)
        logits, feature = logits[:batch], select(logits, features, self.feature_name)
        with torch.autocast(image.device.type, enabled=False):  # one region for all the losses below
            losses, seen = self._objective(logits, feature, target, index, waiting)
        self._watch(feature, target, torch.compiler.is_compiling(), *seen)
        return logits, losses

    def _objective(
        self, logits: Tensor, feature: Tensor, target: Tensor, index: Tensor, waiting: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], tuple[Any, ...]]:
        """The two losses, and what is to be watched of them.

        Args:
            logits: of the batch, ``(B, C)``.
            feature: of the batch and then of the second views, ``(B + V, D)``.
            target: the batch's classes, ``(B,)``.
            index: the batch's images' numbers, ``(B,)``.
            waiting: what waited for the second views.
        """
        logits = widened(logits)
        loss_ce = self._theory(feature, target) if self.theory else F.cross_entropy(logits, target)

        # L_Intra's gradient has a closed form, so nothing below needs a graph; on a CPU all of it is NumPy's.
        z, o, y, i = self._arrays(feature, logits, target, index)
        f = unit(z)
        # Definition 3.1 and Eq. (5): only samples with ρ > δ take part.
        passed = margin(o, y) > self.margin
        # Section 3.3: they meet their class's queue, whose entries are the negatives x⁻ ∈ C(x).
        met = self.queues.meet(f[: len(y)], y, i, passed)
        # Eq. (3), averaged over the anchors that have a positive and a negative.
        tuplets = self.positive.tuplets(f, i, met, waiting)
        *_, valid = tuplets.drawn
        anchors = valid.any(1).sum(dtype=f.dtype)
        each, at_anchor, at_positive = intra_class_gradient(*tuplets.drawn, self.temperature)
        loss_intra = each.sum() / anchors.clip(min=1)
        at_f = library(f).zeros_like(f)
        at_f[tuplets.rows] = at_anchor
        if tuplets.positive_rows is not None:
            at_f[tuplets.positive_rows] = at_positive
        at_z = through_unit(at_f, z) / anchors.clip(min=1)
        # L_Teacher = L_CE + λ · L_Intra.
        norms = self._gradient_norms(loss_ce, feature, o, y, at_z)
        weight = self.weight(norms) if self.adaptive else alike(self.weight(), f)
        loss_kd = known_gradient(feature, weight * loss_intra, weight * at_z)
        return {"loss_ce": loss_ce, "loss_kd": loss_kd}, (f, i, met, passed.sum(), loss_intra, anchors, weight, norms)

    def _arrays(self, feature: Tensor, logits: Tensor, target: Tensor, index: Tensor) -> tuple[Array, ...]:
        """The same without graphs, in float32 at least; as NumPy arrays where those are cheaper."""
        plain = widened(feature.detach()), widened(logits.detach()), target, index
        # Compiled code is fused, whatever the device, and NumPy has no bfloat16 for queues that someone made so.
        half = self.queues.features.dtype in HALF_TYPES
        in_numpy = feature.is_cpu and not half and not torch.compiler.is_compiling()
        return tuple(tensor.numpy() for tensor in plain) if in_numpy else plain

    def _gradient_norms(
        self, loss_ce: Tensor, feature: Tensor, logits: Array, target: Array, at_z: Array
    ) -> Array | None:
        """How strongly L_CE and L_Intra pull at the feature, ``(2,)``; None at steps that need not know."""
        comparable = self.theory or self.feature_name in ("pooled_feat", "logits")
        due = self.adaptive or torch.compiler.is_compiling() or self.steps % NORMS_EVERY == 0
        if not (comparable and due):
            return None
        xp, layer = library(at_z), None
        if self.theory:
            ce = alike(gradient_norm(loss_ce, feature), at_z)
        else:
            if self.feature_name == "pooled_feat":
                layer = self.student.get_submodule(self.classifier).weight.detach().flatten(1)
                layer = alike(widened(layer), logits)
            ce = xp.linalg.norm(cross_entropy_gradient(logits, target, layer))
        return xp.stack([ce, xp.linalg.norm(at_z)])

    @torch.compiler.disable  # its gradient is walked from the loss to the feature, which compiling would hide
    def _theory(self, feature: Tensor, target: Tensor) -> Tensor:
        """Section 4's objective in place of cross-entropy: L_Inter on the features, the classifier trained apart.

        ``L_Inter(x) = log(1 + Σ_{x⁻ ∉ C(x)} exp((f(x)·f(x⁻) − f(x)·f(x⁺)) / τ))`` with the batch's images of other
        classes as x⁻: that the theory has such a term is reported [B], this form of it is our reading [R]. The
        classifier learns from detached features, so that margins and accuracies exist, and moves no feature.
        """
        f, view = unit(feature).chunk(2)
        layer = self.student.get_submodule(self.classifier)
        logits = F.linear(widened(feature[: len(f)]).detach(), layer.weight.flatten(1), layer.bias)
        negatives = f.unsqueeze(0).expand(len(f), -1, -1)
        others = target[:, None] != target[None, :]
        inter = intra_class_loss(f, view, negatives, others, self.temperature).mean()
        return inter + F.cross_entropy(logits, target)

    @torch.compiler.disable
    @torch.no_grad()
    def _watch(
        self,
        feature: Tensor,
        target: Tensor,
        compiled: bool,
        f: Array,
        index: Array,
        met: Met,
        passed: Array,
        loss_intra: Array,
        anchors: Array,
        weight: Array,
        norms: Array | None,
    ) -> None:
        """Keep what the next steps need and what the epoch's figures are made of, as `_objective` returned it."""
        self.positive.keep(f, index, met, compiled)
        feature = feature[: len(target)]
        if feature.is_cuda:  # what a captured graph returns, its next replay overwrites
            feature, passed, anchors, weight = (t.clone() for t in (feature, passed, anchors, weight))
            norms = None if norms is None else norms.clone()
        self.steps += 1
        self.means.add("icc/passed", passed, len(target))
        self.means.add("icc/anchors", anchors, len(target))
        self.means.add("icc/loss_intra", loss_intra * anchors, anchors)
        self.means.add("icc/weight", weight, 1)
        if norms is not None:
            ce, intra = norms
            self.means.add("icc/gradient_share", weight * intra, ce)
        self.class_sums.add(feature, target)

    def diagnostics(self) -> dict[str, float | None]:
        """What happened since last asked, under names that begin with ``icc/``; nothing where ICC is off.

        Shares of samples that passed the gate and were anchors, L_Intra of the anchors, λ, the ratio of the two
        losses' gradients at the feature, how full the queues are, and the training features' mean intra-class
        and inter-class distance and their ratio.
        """
        if self.off:
            return {}
        distances = self.class_sums.distances()
        self.class_sums.reset()
        self.steps = 0  # so that a resumed run measures at the same steps
        figures: dict[str, float | None] = UNMEASURED | self.means.read()
        figures["icc/queue_fill"] = (self.queues.count.float().mean() / self.queues.size).item()
        return figures | {
            "icc/intra": distances.intra, "icc/inter": distances.inter, "icc/ratio": distances.ratio
        }  # fmt: skip

    def warnings(self, metrics: dict[str, Any]) -> list[str]:
        """The failure signatures that begin to show in an epoch's metrics, a line each."""
        return [] if self.off else [f"ICC, {line}" for line in self.signatures.see(metrics)]


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
    if node.THEORY and node.POSITIVE != "twin":
        raise UserError(f"ICC.THEORY needs a second view of every sample: ICC.POSITIVE twin, not {node.POSITIVE}")
    if node.WEIGHT_MODE == "gradnorm" and node.FEATURE not in ("pooled_feat", "logits"):
        raise UserError(f"ICC.WEIGHT_MODE gradnorm compares gradients at pooled_feat or logits, not {node.FEATURE}")
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
        return Memory(dim, node.MEMORY_LIMIT)
    return POSITIVES[node.POSITIVE](dim)


def _weight(node: CfgNode) -> nn.Module:
    if node.WEIGHT_MODE == "fixed":
        return FixedWeight(node.WEIGHT)
    return GradNormWeight(node.GRADNORM.SHARE, node.GRADNORM.MOMENTUM, node.GRADNORM.MAX)
