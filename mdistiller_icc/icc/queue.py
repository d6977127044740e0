"""The class queues of ICC (its "pipeline cache"): recent features of every class, waiting to be negatives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

POLICIES = ("clear", "slide")


class Met(NamedTuple):
    """What every sample of a batch met in its class's queue."""

    features: Tensor
    """The samples' own features, detached, ``(B, D)``."""
    images: Tensor
    """Their images' numbers, ``(B,)``."""
    negatives: Tensor
    """The queue's features, oldest first, ``(B, n, D)``."""
    valid: Tensor
    """Which of them may serve as negatives, bool ``(B, n)``: entries of other images, and only for anchors."""


class ClassQueues(nn.Module):
    """One queue of detached features per class, in memory ``C·n·D`` whatever the size of the data set.

    Samples that pass the gate arrive one by one, in the order of the batch; what comes of it is worked out at once.

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
    """

    features: Tensor
    index: Tensor
    count: Tensor

    def __init__(self, num_classes: int, size: int, dim: int, policy: str = "clear") -> None:
        super().__init__()
        if policy not in POLICIES:
            raise ValueError(f"policy must be one of {POLICIES}, not {policy!r}")
        self.size = size
        self.policy = policy
        self.register_buffer("features", torch.zeros(num_classes, size, dim))
        self.register_buffer("index", torch.full((num_classes, size), -1, dtype=torch.long))
        self.register_buffer("count", torch.zeros(num_classes, dtype=torch.long))

    @torch.no_grad()
    def meet(self, features: Tensor, target: Tensor, index: Tensor, passed: Tensor) -> Met:
        """Let a batch pass by the queues: say what each sample met, and leave the queues as they are then.

        Args:
            features: f, ``(B, D)``.
            target: classes, ``(B,)``.
            index: each image's number in the training set, ``(B,)``.
            passed: which samples passed the gate, bool ``(B,)``.
        """
        features = features.to(self.features.dtype)
        batch = torch.arange(len(target), device=target.device)
        # The arrivals of a class, in batch order, are order[first], order[first + 1], …, order[last - 1].
        key, order = torch.where(passed, target, len(self.count)).sort(stable=True)
        first, last = torch.searchsorted(key, target), torch.searchsorted(key, target, right=True)
        # How many of its class came before a sample, and how many have come in the end, the queue's own included.
        queued = self.count[target]
        before = queued + torch.empty_like(order).scatter_(0, order, batch) - first
        after = queued + last - first

        def content(arrived: Tensor) -> tuple[Tensor, Tensor]:
            """The queues once so many of their class have come: features and image indices, -1 where nothing is."""
            if self.policy == "clear":
                oldest = arrived - arrived % (self.size + 1)  # every (n+1)-th is an anchor and empties the queue
            else:
                oldest = (arrived - self.size).clamp(min=0)
            place = oldest[:, None] + torch.arange(self.size, device=target.device)
            new = place >= queued[:, None]
            row = order[(first[:, None] + place - queued[:, None]).clamp(0, max(len(order) - 1, 0))]
            slot = target[:, None], place.clamp(max=self.size - 1)
            empty = place >= arrived[:, None]
            held = torch.where(new[..., None], features[row], self.features[slot]).masked_fill(empty[..., None], 0.0)
            return held, torch.where(new, index[row], self.index[slot]).masked_fill(empty, -1)

        negatives, owner = content(before)
        anchor = passed & (before % (self.size + 1) == self.size) if self.policy == "clear" else passed
        valid = anchor[:, None] & (owner >= 0) & (owner != index[:, None])
        # Samples of one class write the same.
        self.features[target], self.index[target] = content(after)
        self.count[target] = (self.index[target] >= 0).sum(1)
        return Met(features, index, negatives, valid)
