"""Where an anchor's positive x⁺, another view of the same image, comes from: three readings of the paper [R]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mdistiller_icc.errors import UserError
from mdistiller_icc.icc.queue import Met
from mdistiller_icc.losses.intra_class import intra_class_loss

GIBIBYTE = 2**30


class Positive(nn.Module):
    """Says which images' second views join the next forward pass, and makes the loss of a batch."""

    def __init__(self, dim: int, temperature: float) -> None:
        super().__init__()
        self.dim = dim
        self.temperature = temperature

    def attach(self, num_data: int) -> None:
        """Learn how many training images there are."""

    def views_wanted(self, index: Tensor) -> Tensor:
        """Indices of the images whose second views are to be appended to the batch of images ``index``, ``(V,)``."""
        return index[:0]

    def loss(self, feature: Tensor, view: Tensor, index: Tensor, met: Met) -> tuple[Tensor, Tensor]:
        """L_Intra averaged over the anchors (0 if there are none), and how many anchors there were.

        Args:
            feature: unit features of the batch, with gradient, ``(B, D)``.
            view: unit features of the second views asked for, with gradient, ``(V, D)``.
            index: the images' numbers, ``(B,)``.
            met: what the batch met in the class queues.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no loss")

    def _average(self, anchor: Tensor, positive: Tensor, negatives: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """An anchor without a valid negative has no loss and does not count."""
        losses = intra_class_loss(anchor, positive, negatives, valid, self.temperature)
        anchors = valid.any(1).sum()
        return losses.sum() / anchors.clamp(min=1), anchors


class View(Positive):
    """An anchor of step s gets a second view in the batch of step s + 1; that view carries the gradient.

    Its positive is the anchor's feature of step s and its negatives are the queue the anchor met, both without
    gradient. Only anchors cost a second view, and those travel inside a full batch: a small forward pass
    of their own would use the batch statistics of a handful of images.
    """

    def __init__(self, dim: int, temperature: float) -> None:
        super().__init__(dim, temperature)
        self._waiting: dict[str, Tensor] = {}

    def views_wanted(self, index: Tensor) -> Tensor:
        if not self._waiting:
            return index[:0]
        self._waiting = {name: value.to(index.device) for name, value in self._waiting.items()}
        return self._waiting["index"]

    def loss(self, feature: Tensor, view: Tensor, index: Tensor, met: Met) -> tuple[Tensor, Tensor]:
        waiting = self._waiting or {
            "positive": feature.detach()[:0],
            "negatives": met.negatives[:0],
            "valid": met.valid[:0],
        }
        result = self._average(view, waiting["positive"], waiting["negatives"], waiting["valid"])
        # How many views the next batch gets decides its shape: the one place where the host must wait.
        useful = met.valid.any(1).nonzero().squeeze(1)
        rows = met.rows[useful]
        self._waiting = {
            "index": index[rows],
            "positive": feature.detach()[rows],
            "negatives": met.negatives[useful],
            "valid": met.valid[useful],
        }
        return result

    def get_extra_state(self) -> dict[str, Tensor]:
        return self._waiting

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        self._waiting = state


class Twin(Positive):
    """Both views of every sample in one step, the batch doubled: the literal reading, for reference."""

    def views_wanted(self, index: Tensor) -> Tensor:
        return index

    def loss(self, feature: Tensor, view: Tensor, index: Tensor, met: Met) -> tuple[Tensor, Tensor]:
        return self._average(feature[met.rows], view[met.rows], met.negatives, met.valid)


class Memory(Positive):
    """The positive is the feature this image had when last seen, one epoch ago: no extra forward at all.

    Args:
        limit: the largest table allowed, in GiB; ``ICC.MEMORY_LIMIT``.
    """

    def __init__(self, dim: int, temperature: float, limit: float) -> None:
        super().__init__(dim, temperature)
        self.limit = limit

    def attach(self, num_data: int) -> None:
        size = num_data * self.dim * 4 / GIBIBYTE
        if size > self.limit:
            raise UserError(
                f"ICC.POSITIVE memory: a table of {num_data} x {self.dim} features takes {size:.1f} GiB, more than "
                f"ICC.MEMORY_LIMIT {self.limit:g}; use ICC.POSITIVE view, which keeps no table"
            )
        device = next(iter(self.buffers()), torch.empty(0)).device
        self.register_buffer("table", torch.zeros(num_data, self.dim, device=device))
        self.register_buffer("seen", torch.zeros(num_data, dtype=torch.bool, device=device))

    def loss(self, feature: Tensor, view: Tensor, index: Tensor, met: Met) -> tuple[Tensor, Tensor]:
        anchors = index[met.rows]
        valid = met.valid & self.seen[anchors][:, None]
        result = self._average(feature[met.rows], self.table[anchors], met.negatives, valid)
        self.table[index] = feature.detach().to(self.table.dtype)
        self.seen[index] = True
        return result


POSITIVES: dict[str, Callable[..., Positive]] = {"view": View, "twin": Twin, "memory": Memory}


def second_views(loader: Any) -> Callable[[Tensor], Tensor]:
    """How to draw a fresh augmented view of given training images from ``loader``.

    Our loaders have ``views``; any other loader's data set is asked image by image, as its own workers do.
    """
    if hasattr(loader, "views"):
        return loader.views
    return lambda index: torch.stack([loader.dataset[i][0] for i in index.tolist()]).to(index.device)
