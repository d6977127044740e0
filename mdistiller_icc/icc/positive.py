"""Where an anchor's positive x⁺, another view of the same image, comes from: three readings of the paper [R]."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mdistiller_icc.errors import UserError
from mdistiller_icc.icc.queue import Met

MEMORY_GIBIBYTES = 1.0
"""The largest table of features that `Memory` keeps."""


class Tuplets(NamedTuple):
    """The anchors of a step, each with its positive and its negatives: the arguments of `intra_class_loss`."""

    anchor: Tensor
    """f(x), with the graph, ``(A, D)``."""
    positive: Tensor
    """f(x⁺), ``(A, D)``."""
    negatives: Tensor
    """f(x⁻), ``(A, n, D)``."""
    valid: Tensor
    """Which of the negatives count, bool ``(A, n)``; a row without any is no anchor and has no loss."""


class Positive(nn.Module):
    """Says which images' second views join a batch, and gives the anchors their positives.

    Args:
        dim: D, the features' length.
        size: n, how many negatives a queue holds.
    """

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        self.dim, self.size = dim, size

    def attach(self, num_data: int) -> None:
        """Learn how many training images there are."""

    def second_views(self, index: Tensor) -> Tensor:
        """The numbers of the images whose second views the batch of images ``index`` is to take along, ``(V,)``."""
        return index[:0]

    def tuplets(self, f: Tensor, index: Tensor, met: Met) -> Tuplets:
        """The anchors of this step; also keeps what the next steps need.

        Args:
            f: features of the batch and then of the second views asked for, with their graph, ``(B + V, D)``.
            index: the batch's images' numbers, ``(B,)``.
            met: what the batch met in the class queues.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no positives")


class View(Positive):
    """An anchor of step s gets a second view in the batch of step s + 1; that view carries the gradient.

    Its positive is the anchor's feature of step s and its negatives are the queue the anchor met, both without
    gradient. Only anchors cost a second view, and those travel inside a full batch: a small forward pass
    of their own would use the batch statistics of a handful of images.
    """

    index: Tensor
    positive: Tensor
    negatives: Tensor
    valid: Tensor

    def __init__(self, dim: int, size: int) -> None:
        super().__init__(dim, size)
        # Of the images that wait for their second view; as many as there were anchors, so no ordinary buffers.
        self.register_buffer("index", torch.empty(0, dtype=torch.long), persistent=False)
        self.register_buffer("positive", torch.empty(0, dim), persistent=False)
        self.register_buffer("negatives", torch.empty(0, size, dim), persistent=False)
        self.register_buffer("valid", torch.empty(0, size, dtype=torch.bool), persistent=False)

    def second_views(self, index: Tensor) -> Tensor:
        return self.index

    def tuplets(self, f: Tensor, index: Tensor, met: Met) -> Tuplets:
        drawn = Tuplets(f[len(index) :], self.positive, self.negatives, self.valid)
        # How many views the next batch gets decides its shape: the one place where the host must wait.
        anchors = met.valid.any(1).nonzero().squeeze(1)
        self.index, self.positive = index[anchors], f[anchors].detach()
        self.negatives, self.valid = met.negatives[anchors], met.valid[anchors]
        return drawn

    def get_extra_state(self) -> dict[str, Tensor]:
        return dict(self.named_buffers())

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        for name, held in self.named_buffers():
            setattr(self, name, state[name].to(held.device))


class Twin(Positive):
    """Both views of every sample in one step, the batch doubled: the literal reading, for reference."""

    def second_views(self, index: Tensor) -> Tensor:
        return index

    def tuplets(self, f: Tensor, index: Tensor, met: Met) -> Tuplets:
        first, second = f.split(len(index))
        return Tuplets(first, second, met.negatives, met.valid)


class Memory(Positive):
    """The positive is the feature this image had when last seen, one epoch ago: no extra forward at all."""

    table: Tensor
    seen: Tensor

    def __init__(self, dim: int, size: int) -> None:
        super().__init__(dim, size)
        self.register_buffer("table", torch.empty(0, dim))
        self.register_buffer("seen", torch.empty(0, dtype=torch.bool))

    def attach(self, num_data: int) -> None:
        gibibytes = num_data * self.dim * 4 / 2**30
        if gibibytes > MEMORY_GIBIBYTES:
            raise UserError(
                f"ICC.POSITIVE memory: a table of {num_data} x {self.dim} features takes {gibibytes:.1f} GiB, more "
                f"than {MEMORY_GIBIBYTES:g}; use ICC.POSITIVE view, which keeps no table"
            )
        self.table, self.seen = self.table.new_zeros(num_data, self.dim), self.seen.new_zeros(num_data)

    def tuplets(self, f: Tensor, index: Tensor, met: Met) -> Tuplets:
        drawn = Tuplets(f, self.table[index], met.negatives, met.valid & self.seen[index].unsqueeze(1))
        self.table[index] = f.detach().to(self.table.dtype)
        self.seen[index] = True
        return drawn


POSITIVES: dict[str, type[Positive]] = {"view": View, "twin": Twin, "memory": Memory}


class ViewLoader(Protocol):
    """What ICC needs of a loader of training images; ours have it."""

    num_data: int
    """How many training images there are."""

    def views(self, index: Tensor) -> Tensor:
        """A fresh augmented view of the images ``index`` (V,), as a batch has them, (V, 3, H, W)."""


class ItemViews:
    """The same of torch's `DataLoader`, whose data set is asked image by image, as its own workers do."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.dataset = loader.dataset
        self.num_data = len(cast(Sized, loader.dataset))

    def views(self, index: Tensor) -> Tensor:
        return torch.stack([self.dataset[i][0] for i in index.tolist()]).to(index.device)
