"""The algorithm of ICC, in the paper's order: margin gate → class queue → Eq. (3) → λ.

"Enriching Knowledge Distillation with Intra-Class Contrastive Learning", arXiv 2509.22053.
``L_Teacher = L_CE + λ · L_Intra`` [B]; this is ``λ · L_Intra``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mdistiller_icc.errors import UserError
from mdistiller_icc.icc.batch import check_arguments, check_batch
from mdistiller_icc.icc.positive import POSITIVES
from mdistiller_icc.icc.queue import ClassQueues
from mdistiller_icc.icc.watch import Watch
from mdistiller_icc.icc.weight import FixedWeight, GradNormWeight, cross_entropy_pull, intra_class_pull
from mdistiller_icc.losses.gather import WholeBatch
from mdistiller_icc.losses.intra_class import intra_class_loss, scaled
from mdistiller_icc.losses.margin import margin
from mdistiller_icc.ranks import rank, world


class ICCLoss(WholeBatch, nn.Module):
    """``λ · L_Intra``, which a training loop of any kind adds to its cross-entropy.

    What it remembers is in its ``state_dict``. Under autocast it computes in float32. In eval mode it is 0 and
    remembers nothing. docs/api.md has a loop for every ``positive``.

    Args:
        num_classes: C.
        dim: D, the features' length; None: that of the first batch.
        weight: λ; 0 turns everything off.
        gradnorm_share: where given, λ keeps an anchor's pull at this share of cross-entropy's.
        margin: δ; this and the rest are the settings of the node ``ICC``, with its defaults: docs/icc.md.
        gather: whether all processes have the whole batch's queues, and `share` is what each has of it.
        num_data: how many training images there are, for ``positive="memory"``.

    Raises:
        UserError: a setting is out of range.

    >>> icc = ICCLoss(num_classes=100)
    >>> for (image, target), index in DataLoader(StackDataset(data, range(len(data))), 64):  # doctest: +SKIP
    ...     views = [data[i][0] for i in icc.second_views(index).tolist()]
    ...     logits, feature = model(torch.stack([*image, *views]))  # z, (B + V, D)
    ...     loss = F.cross_entropy(logits[: len(target)], target) + icc(logits, feature, target, index)
    """

    def __init__(
        self,
        num_classes: int,
        dim: int | None = None,
        *,
        weight: float = 0.1,
        gradnorm_share: float | None = None,
        margin: float = 0.3,
        similarity: str = "dot",
        temperature: float = 1.0,
        reduction: str = "batch",
        positive: str = "view",
        queue_size: int = 8,
        queue_policy: str = "clear",
        gather: bool = False,
        num_data: int | None = None,
    ) -> None:
        super().__init__()
        node = {"WEIGHT": weight, "MARGIN": margin, "SIMILARITY": similarity, "TEMPERATURE": temperature}
        node |= {"REDUCTION": reduction, "POSITIVE": positive, "QUEUE": {"SIZE": queue_size, "POLICY": queue_policy}}
        node |= {} if gradnorm_share is None else {"GRADNORM": {"SHARE": gradnorm_share}}
        check_arguments(node, {"num_classes": num_classes, "dim": dim, "num_data": num_data})
        self.margin, self.similarity, self.temperature, self.reduction = margin, similarity, temperature, reduction
        self.kind, self.num_data = positive, num_data
        self.queue, self.gather = (num_classes, queue_size, queue_policy), gather
        self.adaptive = gradnorm_share is not None
        self.weight = FixedWeight(weight) if gradnorm_share is None else GradNormWeight(gradnorm_share)
        self.off = weight == 0 and not self.adaptive
        self.watch = Watch(num_classes)
        self._resize(dim or 0, None)
        nn.Module.register_load_state_dict_pre_hook(self, self._resize_to)

    def second_views(self, index: Tensor) -> Tensor:
        """The numbers of the images whose second views the network is to see after the batch of ``index``, ``(V,)``."""
        wanted = self.positive.second_views(index, self.of_all) if self.training else index[:0]
        return wanted[self.share(len(wanted))]

    @torch.compiler.disable  # the queues change in place, and gradients are looked at before the backward pass
    def forward(
        self,
        logits: Tensor,
        feature: Tensor,
        target: Tensor,
        index: Tensor | None = None,
        *,
        classifier: Tensor | None = None,
    ) -> Tensor:
        """``λ · L_Intra`` of a batch, a scalar with its graph.

        Args:
            logits: of the batch, ``(B, C)``; more rows, of the second views, are left aside.
            feature: z of the batch and then of `second_views`, with their graph, ``(B + V, D)``; may be the logits.
            target: the batch's classes, ``(B,)``.
            index: the images' numbers in the training set, ``(B,)``; ``twin`` can do without, but then an image may
                meet itself as it was an epoch ago.
            classifier: W, ``(C, D)``, that makes logits of z. With it, and where z is the logits, gradients are
                compared, for ``gradnorm_share`` and for `figures`.

        Raises:
            UserError: a shape is not what it has to be, or something is missing.
        """
        if self.off or not self.training:
            return logits.new_zeros((), dtype=torch.float32)
        check_batch(self.positive, feature, target, index, self.share)
        comparable = feature.requires_grad and (classifier is not None or feature is logits)
        if self.adaptive and not comparable:
            raise UserError("ICCLoss: gradnorm_share wants a feature that carries a gradient, and classifier, (C, D)")
        if not self.dim:
            self._resize(feature.shape[1], feature.device)
        batch, logits = len(target), logits[: len(target)]
        if index is None:  # numbers that no image in the queues has
            index = self.queues.index.max() + 1 + torch.arange(batch, device=target.device) * world() + rank()
        index = index.to(target.device)
        with torch.autocast(feature.device.type, enabled=False):
            f = scaled(feature, self.similarity)
            # Definition 3.1 and Eq. (5): only samples with ρ > δ take part.
            passed = margin(logits.detach(), target) > self.margin
            # Section 3.3: they meet their class's queue, whose entries are the negatives x⁻ ∈ C(x).
            met = self.queues.meet(*self.of_all(f[:batch].detach(), target, index, passed))
            # Eq. (3), averaged over the anchors that have a positive and a negative, or over the batch.
            tuplets, anchors = self.positive.tuplets(f, met, self.share)
            each = intra_class_loss(*tuplets, self.temperature)
            part = batch / len(met.images)  # of the whole batch, for which a process's losses count
            loss_intra = each.sum() / part / (anchors.clamp(min=1) if self.reduction == "anchors" else len(met.images))
            # L_Teacher = L_CE + λ · L_Intra.
            pulls = None
            if comparable and (self.adaptive or self.watch.share_is_due):
                of_ce = cross_entropy_pull(logits, target, classifier)
                pulls = self.sum_of_all(torch.stack([part * of_ce, intra_class_pull(each, feature, anchors)]))
            weight: Tensor = self.weight(pulls)
        self.watch.step(feature[:batch].detach(), target, passed, each.detach(), tuplets.valid, weight, pulls)
        return weight * loss_intra

    def figures(self) -> dict[str, float | None]:
        """What happened since last asked, for a log: the figures of `Watch`, and how full the queues are."""
        if self.off:
            return {}
        queue_fill = (self.queues.count.float().mean() / self.queues.size).item()
        return self.watch.figures() | {"icc/queue_fill": queue_fill}

    def keep_ranks_apart(self, module: nn.Module) -> None:
        """Have DistributedDataParallel around ``module``, which this is a part of, leave each rank its own queues."""
        own = {id(buffer) for buffer in self.buffers()}
        names = [name for name, buffer in module.named_buffers() if id(buffer) in own]
        module._ddp_params_and_buffers_to_ignore = names  # type: ignore[assignment]

    def get_extra_state(self) -> dict[str, str]:
        """The similarity that the queues' features are for."""
        return {"similarity": self.similarity}  # version 0.1.0 knew cosines alone; its runs do not go on with others

    def set_extra_state(self, state: dict[str, str]) -> None:
        """Refuse the state of another similarity, with a ValueError."""
        if state["similarity"] != self.similarity:
            raise ValueError(f"its queues hold features for ICC.SIMILARITY {state['similarity']}")

    def _resize(self, dim: int, device: torch.device | None) -> None:
        """Make room for features of length ``dim``; 0 where nobody knows it yet."""
        self.dim = dim
        num_classes, size, policy = self.queue
        self.weight.to(device)
        self.queues = ClassQueues(num_classes, size, dim, policy).to(device)
        self.positive = POSITIVES[self.kind](dim, size).to(device)
        if self.num_data is not None:
            self.positive.attach(self.num_data)

    def _resize_to(self, _module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        held = state.get(f"{prefix}queues.features")
        if not self.dim and held is not None:
            self._resize(held.shape[2], self.queues.features.device)
