"""Where an anchor's positive x⁺, another view of the same image, comes from: three readings of the paper [R]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mdistiller_icc.errors import UserError
from mdistiller_icc.icc.queue import Met
from mdistiller_icc.losses.arrays import Array, alike, library, positions

GIBIBYTE = 2**30


class Tuplets(NamedTuple):
    """The anchors of a step, each with its positive and its negatives."""

    drawn: tuple[Array, Array, Array, Array]
    """f(x) ``(A, D)``, f(x⁺) ``(A, D)``, f(x⁻) ``(A, n, D)``, and which of the negatives count, bool ``(A, n)``: an
    anchor without any has no loss."""
    rows: Array
    """Which of the forward pass's samples the anchors are, ``(A,)``, each once."""
    positive_rows: Array | None = None
    """Which of them the positives are, others than the anchors; None where they are of another step."""


class Positive(nn.Module):
    """Says which images' second views join the next forward pass, and gives anchors their positives."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def attach(self, num_data: int) -> None:
        """Learn how many training images there are."""

    def waiting(self, index: Tensor) -> tuple[Tensor, ...]:
        """What the batch of images ``index`` is to take along: first whose second views join it, ``(V,)``.

        Then whatever `tuplets` needs of these images.
        """
        return (index[:0],)

    def tuplets(self, f: Array, index: Array, met: Met, waiting: Sequence[Tensor] = ()) -> Tuplets:
        """The anchors of this step.

        Args:
            f: unit features of the batch and then of the second views asked for, without a graph, ``(B + V, D)``.
            index: the batch's images' numbers, ``(B,)``.
            met: what the batch met in the class queues.
            waiting: what `waiting` returned for this batch, but for its first.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no positives")

    def keep(self, f: Array, index: Array, met: Met, compiled: bool = False) -> None:
        """Keep what the next steps need, given the same as `tuplets`; ``compiled`` code may need it otherwise."""


class View(Positive):
    """An anchor of step s gets a second view in the batch of step s + 1; that view carries the gradient.

    Its positive is the anchor's feature of step s and its negatives are the queue the anchor met, both without
    gradient. Only anchors cost a second view, and those travel inside a full batch: a small forward pass
    of their own would use the batch statistics of a handful of images. Compiled code is made anew for every size of
    a batch (code for any size is far slower), so there a few views of other images, without a loss, leave few sizes.
    """

    STEPS = 16  # a batch grows by sixteenths of itself in compiled code

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self._waiting: dict[str, Tensor] = {}
        self._batch = 0

    @torch.compiler.disable  # compiled code takes a module's own tensors to stay where they are; these are new ones
    def waiting(self, index: Tensor) -> tuple[Tensor, ...]:
        if not self._waiting:
            return (index[:0],)
        found = tuple(self._waiting[name].to(index.device) for name in ("index", "positive", "negatives", "valid"))
        for value in found:
            torch._dynamo.mark_static(value)
        return found

    def tuplets(self, f: Array, index: Array, met: Met, waiting: Sequence[Tensor] = ()) -> Tuplets:
        views, rows = f[len(index) :], positions(f)[len(index) :]
        if not waiting:
            return Tuplets((views, f[:0], met.negatives[:0], met.valid[:0]), rows)
        return Tuplets((views, *(alike(value, f) for value in waiting)), rows)

    def keep(self, f: Array, index: Array, met: Met, compiled: bool = False) -> None:
        # How many views the next batch gets decides its shape: the one place where the host must wait.
        useful = met.valid.any(1)
        self._batch = max(self._batch, len(index))  # the last one of an epoch is smaller
        if compiled:
            multiple = max(1, self._batch // self.STEPS)
            count = -(-int(useful.sum()) // multiple) * multiple
            chosen = useful.argsort(descending=True, stable=True)[:count]  # of a small batch there may be fewer
        else:
            chosen = library(useful).argwhere(useful)[:, 0]
        rows = met.rows[chosen]
        self._waiting = {
            "index": torch.as_tensor(index[rows]),
            "positive": torch.as_tensor(f[rows]),
            "negatives": torch.as_tensor(met.negatives[chosen]),
            "valid": torch.as_tensor(met.valid[chosen]),
        }

    def get_extra_state(self) -> dict[str, Tensor]:
        return self._waiting

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        self._waiting = state


class Twin(Positive):
    """Both views of every sample in one step, the batch doubled: the literal reading, for reference."""

    def waiting(self, index: Tensor) -> tuple[Tensor, ...]:
        return (index,)

    def tuplets(self, f: Array, index: Array, met: Met, waiting: Sequence[Tensor] = ()) -> Tuplets:
        rows = met.rows + len(index)
        return Tuplets((f[met.rows], f[rows], met.negatives, met.valid), met.rows, rows)


class Memory(Positive):
    """The positive is the feature this image had when last seen, one epoch ago: no extra forward at all.

    Args:
        limit: the largest table allowed, in GiB; ``ICC.MEMORY_LIMIT``.
    """

    def __init__(self, dim: int, limit: float) -> None:
        super().__init__(dim)
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

    def tuplets(self, f: Array, index: Array, met: Met, waiting: Sequence[Tensor] = ()) -> Tuplets:
        images = index[met.rows]
        valid = met.valid & alike(self.seen, f)[images][:, None]
        return Tuplets((f[met.rows], alike(self.table, f)[images], met.negatives, valid), met.rows)

    def keep(self, f: Array, index: Array, met: Met, compiled: bool = False) -> None:
        alike(self.table, f)[index] = f.to(self.table.dtype) if isinstance(f, Tensor) else f
        alike(self.seen, f)[index] = True


POSITIVES: dict[str, Callable[..., Positive]] = {"view": View, "twin": Twin, "memory": Memory}


def second_views(loader: Any) -> Callable[[Tensor], Tensor]:
    """How to draw a fresh augmented view of given training images from ``loader``.

    Our loaders have ``views``; any other loader's data set is asked image by image, as its own workers do.
    """

    @torch.compiler.disable  # a loader is no network to compile
    def draw(index: Tensor) -> Tensor:
        if hasattr(loader, "views"):
            images = loader.views(index)
        else:
            images = torch.stack([loader.dataset[i][0] for i in index.tolist()]).to(index.device)
        torch._dynamo.mark_static(images)  # to compiled code, see `View`
        return images

    return draw
