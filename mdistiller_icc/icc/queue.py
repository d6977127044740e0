"""The class queues of ICC (its "pipeline cache"): recent features of every class, waiting to be negatives."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mdistiller_icc.losses.gather import gather_rows

POLICIES = ("clear", "slide")


class Met(NamedTuple):
    """What the samples of a batch met in their class's queue, one row a sample."""

    anchor: Tensor
    """Which samples are anchors, bool ``(B,)``."""
    negatives: Tensor
    """The queue each sample met, oldest first, ``(B, n, D)``."""
    valid: Tensor
    """Which of these may serve as negatives, bool ``(B, n)``: entries of other images, and only for anchors."""


class ClassQueues(nn.Module):
    """One queue of detached features per class, in memory ``C·n·D`` whatever the size of the data set.

    Samples arrive in the order of the batch, as though one by one; only those that pass the gate do.

    - ``clear``: a sample that meets a full queue is an anchor and empties it; the others join. So about
      ``1/(n+1)`` of the arrivals are anchors. ("Loss when the queue is large enough, then cleared",
      Sec. 3.3 [B]; that the anchor itself does not join is our reading [R].)
    - ``slide``: first in, first out; every arrival is an anchor against what it meets, then joins. [B, details R]

    An image is never its own negative: entries remember the index of their image. The state is held in
    buffers, so it is saved, restored and moved with the model.

    Args:
        num_classes: C.
        size: n, how many features a class's queue holds.
        dim: D, the features' length.
        policy: ``"clear"`` or ``"slide"``.
        gather: across processes, let the samples of all ranks arrive in the order of the ranks, so that every
            rank's queues are those of one process with the whole batch; else each rank has its own.
    """

    features: Tensor
    index: Tensor
    count: Tensor

    def __init__(self, num_classes: int, size: int, dim: int, policy: str = "clear", gather: bool = False) -> None:
        super().__init__()
        if policy not in POLICIES:
            raise ValueError(f"policy must be one of {POLICIES}, not {policy!r}")
        self.size = size
        self.policy = policy
        self.gather = gather
        self.register_buffer("features", torch.zeros(num_classes, size, dim))
        self.register_buffer("index", torch.full((num_classes, size), -1, dtype=torch.long))
        self.register_buffer("count", torch.zeros(num_classes, dtype=torch.long))

    @torch.no_grad()
    def meet(self, features: Tensor, target: Tensor, index: Tensor, passed: Tensor) -> Met:
        """Let a batch pass by the queues: say what each sample met, and leave the queues as they are then.

        Args:
            features: unit features, ``(B, D)``.
            target: classes, ``(B,)``.
            index: each image's number in the training set, ``(B,)``.
            passed: which samples passed the gate, bool ``(B,)``.
        """
        features = features.detach().to(self.features.dtype)
        if self.gather:
            rank = torch.full_like(target, dist.get_rank() if dist.is_available() and dist.is_initialized() else 0)
            features, target, index, passed, ranks = gather_rows(features, target, index, passed.long(), rank)
            met = self._meet(features, target, index, passed.bool())
            return Met(*(rows[ranks == rank[:1]] for rows in met)) if len(rank) else Met(*(rows[:0] for rows in met))
        return self._meet(features, target, index, passed)

    def _meet(self, features: Tensor, target: Tensor, index: Tensor, passed: Tensor) -> Met:
        if not len(target):
            return Met(passed, features.new_zeros(0, *self.features.shape[1:]), passed[:, None].expand(0, self.size))
        num_classes = len(self.count)
        # The arrivals of a class, in batch order, are `order[first[c]], order[first[c] + 1], …`.
        key = torch.where(passed, target, num_classes)
        key, order = key.sort(stable=True)
        first = torch.searchsorted(key, torch.arange(num_classes + 1, device=key.device))
        arrivals = first[1:] - first[:-1]
        rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=key.device) - first[key])

        batch = (features, index, order, first)
        place = self.count[target] + rank  # entries and earlier arrivals of the class, before this sample
        negatives, owner, filled = self._contents(target, place, *batch)
        anchor = passed & (filled.all(1) if self.policy == "clear" else filled.any(1))
        valid = filled & anchor[:, None] & (owner != index[:, None])

        every_class = torch.arange(num_classes, device=key.device)
        entries, owner, filled = self._contents(every_class, self.count + arrivals, *batch)
        self.features.copy_(entries.masked_fill(~filled[..., None], 0.0))  # leave no trace of what is not in the queue
        self.index.copy_(owner.masked_fill(~filled, -1))
        self.count.copy_(filled.sum(1))
        return Met(anchor, negatives, valid)

    def _contents(
        self,
        target: Tensor,
        place: Tensor,
        features: Tensor,
        index: Tensor,
        order: Tensor,
        first: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The queue of each class in ``target`` once ``place`` samples, counted from its oldest entry, have arrived.

        Returns the features and image indices of its slots, oldest first, and which of the slots are filled.
        """
        slot = torch.arange(self.size, device=target.device)
        if self.policy == "clear":
            oldest = place - place % (self.size + 1)  # every (n+1)-th arrival is an anchor and empties the queue
        else:
            oldest = (place - self.size).clamp(min=0)
        sequence = oldest[:, None] + slot
        filled = sequence < place[:, None]
        queued = self.count[target][:, None]
        from_queue = sequence < queued
        row = (first[target][:, None] + sequence - queued).clamp(0, len(order) - 1)
        row = order[row]
        queue_slot = sequence.clamp(max=self.size - 1)
        entries = torch.where(from_queue[..., None], self.features[target[:, None], queue_slot], features[row])
        owner = torch.where(from_queue, self.index[target[:, None], queue_slot], index[row])
        return entries, owner, filled
