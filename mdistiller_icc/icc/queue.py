"""The class queues of ICC (its "pipeline cache"): recent features of every class, waiting to be negatives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from mdistiller_icc.losses.arrays import Array, alike
from mdistiller_icc.losses.gather import gather_rows

POLICIES = ("clear", "slide")


class Met(NamedTuple):
    """What the anchors of a batch met in their class's queue, one row an anchor."""

    rows: Array
    """Which samples of the batch they are, ``(A,)``; of tensors all of them, most without a valid negative."""
    negatives: Array
    """The queue each of them met, oldest first, ``(A, n, D)``."""
    valid: Array
    """Which of these may serve as negatives, bool ``(A, n)``: entries of other images, and only for anchors."""


class ClassQueues(nn.Module):
    """One queue of detached features per class, in memory ``C·n·D`` whatever the size of the data set.

    Samples arrive in the order of the batch, one by one; only those that pass the gate do. NumPy arrays are treated
    just so; what would come of it is worked out in one go from tensors.

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
    def meet(self, features: Array, target: Array, index: Array, passed: Array) -> Met:
        """Let a batch pass by the queues: say what each sample met, and leave the queues as they are then.

        Args:
            features: unit features, ``(B, D)``; all four are tensors, or NumPy arrays where the queues are on a CPU.
            target: classes, ``(B,)``.
            index: each image's number in the training set, ``(B,)``.
            passed: which samples passed the gate, bool ``(B,)``.
        """
        if self.gather:
            rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
            own = [torch.as_tensor(array) for array in (features, target, index, passed)]
            all_ranks = gather_rows(*own[:3], own[3].long(), torch.full_like(own[1], rank))
            features, target, index, passed, ranks = (alike(tensor.detach(), features) for tensor in all_ranks)
            met = self._meet(features, target, index, passed != 0)
            ours = ranks[met.rows] == rank
            return Met(met.rows[ours] - (ranks < rank).sum(), met.negatives[ours], met.valid[ours])
        return self._meet(features, target, index, passed)

    def _meet(self, features: Array, target: Array, index: Array, passed: Array) -> Met:
        if isinstance(features, Tensor):
            return self._meet_at_once(features.detach().to(self.features.dtype), target, index, passed)
        return self._meet_in_turn(features, target, index, passed)

    def _meet_in_turn(self, features: np.ndarray, target: np.ndarray, index: np.ndarray, passed: np.ndarray) -> Met:
        queues, owners, count = self.features.numpy(), self.index.numpy(), self.count.numpy()
        arrivals = passed.nonzero()[0]
        rows: list[int] = []
        negatives: list[np.ndarray] = []
        met_owners: list[np.ndarray] = []
        samples = zip(arrivals.tolist(), target[arrivals].tolist(), index[arrivals].tolist(), strict=True)
        for row, label, image in samples:
            queue, owner, queued = queues[label], owners[label], count.item(label)
            full = queued == self.size
            if full or (self.policy == "slide" and queued):
                rows.append(row)
                negatives.append(queue.copy())
                met_owners.append(owner.copy())
            if full and self.policy == "clear":
                queue[:], owner[:], count[label] = 0.0, -1, 0
                continue
            if full:
                queue[:-1], owner[:-1], queued = queue[1:], owner[1:], queued - 1
            queue[queued], owner[queued], count[label] = features[row], image, queued + 1
        anchors = np.array(rows, dtype=np.int64)
        shape = len(rows), *queues.shape[1:]
        met_owner = np.array(met_owners, dtype=np.int64).reshape(shape[:2])
        valid = (met_owner >= 0) & (met_owner != index[anchors][:, None])
        return Met(anchors, np.array(negatives, dtype=queues.dtype).reshape(shape), valid)

    def _meet_at_once(self, features: Tensor, target: Tensor, index: Tensor, passed: Tensor) -> Met:
        batch = torch.arange(len(target), device=target.device)
        if not len(batch):
            return Met(batch, features.new_zeros(0, *self.features.shape[1:]), passed[:, None].expand(0, self.size))
        # The arrivals of a class, in batch order, are `order[first], order[first + 1], …, order[last - 1]`.
        key, order = torch.where(passed, target, len(self.count)).sort(stable=True)
        first = torch.searchsorted(key, target)
        last = torch.searchsorted(key, target, right=True)
        rank = torch.empty_like(order).scatter_(0, order, batch) - first

        # How many of its class came before each sample, counted from the oldest entry of the queue.
        queued = self.count[target]
        place = queued + rank
        anchor = passed & (place % (self.size + 1) == self.size if self.policy == "clear" else place > 0)

        # What each sample met, and what its class's queue holds in the end.
        final = queued + last - first
        entries, owner, filled = self._contents(
            target.repeat(2), torch.cat([place, final]), first.repeat(2), features, index, order
        )
        (negatives, entries), (met_owner, owner), (met_filled, filled) = (
            part.chunk(2) for part in (entries, owner, filled)
        )
        valid = met_filled & anchor[:, None] & (met_owner != index[:, None])

        # Samples of one class write the same. Nothing is left of what is not in the queue.
        self.features[target] = entries.masked_fill(~filled[..., None], 0.0)
        self.index[target] = owner.masked_fill(~filled, -1)
        self.count[target] = filled.sum(1)
        return Met(batch, negatives, valid)

    def _contents(
        self, target: Tensor, place: Tensor, first: Tensor, features: Tensor, index: Tensor, order: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The queue of each class in ``target`` once ``place`` samples have arrived, the batch's from ``first`` on.

        Returns the features and image indices of its slots, oldest first, and which of the slots are filled.
        """
        slot = torch.arange(self.size, device=target.device)
        if self.policy == "clear":
            oldest = place - place % (self.size + 1)  # every (n+1)-th arrival is an anchor and empties the queue
        else:
            oldest = (place - self.size).clamp(min=0)
        sequence = oldest[:, None] + slot
        filled = sequence < place[:, None]
        arrived = sequence - self.count[target][:, None]
        from_queue = arrived < 0
        row = order[(first[:, None] + arrived).clamp(0, len(order) - 1)]
        queue_slot = target[:, None] * self.size + sequence.clamp(max=self.size - 1)
        in_queue = self.features.flatten(0, 1)[queue_slot]
        entries = torch.where(from_queue[..., None], in_queue, features[row])
        owner = torch.where(from_queue, self.index.flatten()[queue_slot], index[row])
        return entries, owner, filled
