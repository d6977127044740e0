"""Where an anchor's positive x⁺, another view of the same image, comes from: three readings of the paper [R]."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mdistiller_icc.errors import UserError
from mdistiller_icc.icc.queue import Met
from mdistiller_icc.losses.gather import gather_rows

MEMORY_GIBIBYTES = 1.0
"""The largest table of features that `Memory` keeps."""


class Tuplets(NamedTuple):
    """The anchors of a step, each with its positive and its negatives: the arguments of `intra_class_loss`."""

    anchor: Tensor  # f(x), with the graph, (A, D)
    positive: Tensor  # f(x⁺), (A, D)
    negatives: Tensor  # f(x⁻), (A, n, D)
    valid: Tensor  # which of the negatives count, bool (A, n); a row without any is no anchor and has no loss


class Positive(nn.Module):
    """Says which images' second views join a batch, and gives the anchors their positives, of length D = ``dim``."""

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        self.dim, self.size = dim, size

    def attach(self, num_data: int) -> None:
        """Learn how many training images there are."""

    def second_views(self, index: Tensor, of_all: Callable[..., tuple[Tensor, ...]] = gather_rows) -> Tensor:
        """The images, ``(V,)``, whose second views are to join the whole batch, of which ``index`` is our share."""
        return index[:0]

    def tuplets(self, f: Tensor, met: Met, share: Callable[[int], slice]) -> tuple[Tuplets, Tensor]:
        """The anchors of this step, and how many all processes have; also keeps what the next steps need.

        ``f`` has this process's ``share`` of the batch and then of its second views; ``met`` has the whole batch.
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

    def second_views(self, index: Tensor, of_all: Callable[..., tuple[Tensor, ...]] = gather_rows) -> Tensor:
        return self.index

    def tuplets(self, f: Tensor, met: Met, share: Callable[[int], slice]) -> tuple[Tuplets, Tensor]:
        batch, views = share(len(met.images)), share(len(self.index))
        drawn = Tuplets(f[batch.stop - batch.start :], self.positive[views], self.negatives[views], self.valid[views])
        count = self.valid.any(1).sum()
        # How many views the next batch gets decides its shape: the one place where the host must wait.
        anchors = met.valid.any(1).nonzero().squeeze(1)
        self.index, self.positive = met.images[anchors], met.features[anchors]
        self.negatives, self.valid = met.negatives[anchors], met.valid[anchors]
        return drawn, count

    def get_extra_state(self) -> dict[str, Tensor]:
        return dict(self.named_buffers())

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        for name, held in self.named_buffers():
            setattr(self, name, state[name].to(held.device))


class Twin(Positive):
    """Both views of every sample in one step, the batch doubled: the literal reading, for reference."""

    def second_views(self, index: Tensor, of_all: Callable[..., tuple[Tensor, ...]] = gather_rows) -> Tensor:
        return of_all(index)[0]

    def tuplets(self, f: Tensor, met: Met, share: Callable[[int], slice]) -> tuple[Tuplets, Tensor]:
        batch = share(len(met.images))
        first, second = f.chunk(2)
        return Tuplets(first, second, met.negatives[batch], met.valid[batch]), met.valid.any(1).sum()


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

    def tuplets(self, f: Tensor, met: Met, share: Callable[[int], slice]) -> tuple[Tuplets, Tensor]:
        batch = share(len(met.images))
        valid = met.valid & self.seen[met.images].unsqueeze(1)
        drawn = Tuplets(f, self.table[met.images[batch]], met.negatives[batch], valid[batch])
        self.table[met.images] = met.features.to(self.table.dtype)
        self.seen[met.images] = True
        return drawn, valid.any(1).sum()


POSITIVES: dict[str, type[Positive]] = {"view": View, "twin": Twin, "memory": Memory}
