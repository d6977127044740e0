"""The rows of every process's batch, with their gradient, for losses that contrast samples of a batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc import ranks
from mdistiller_icc.losses.precision import widened


def gather_rows(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Concatenate the first axes of every process's tensors, in the order of the ranks.

    Every rank then computes the loss of the whole batch. Going back, the gradients of all ranks' copies
    are summed, so the average that `DistributedDataParallel` takes is the gradient one process would
    have had with the whole batch. The ranks' batches may differ in length: their losses then have weights
    whose mean is 1. Half types travel as float32. Without a process group, or with one process, the
    tensors come back as they are.

    Args:
        tensors: each (B, …) with the same B, B this rank's own; the other axes agree over the ranks.

    Returns:
        The same tensors, (ΣB, …).

    Example:
        >>> logits_student, target = gather_rows(torch.zeros(2, 10), torch.tensor([3, 7]))
        >>> logits_student.shape
        torch.Size([2, 10])
    """
    if ranks.world() == 1:
        return tensors
    counts = _row_counts(tensors[0])
    return tuple(_Gather.apply(widened(tensor), counts) for tensor in tensors)


class WholeBatch:
    """What relates images, or remembers them, asks here for those of the whole batch.

    Attributes:
        gather: whether that is the batch of all processes, else this one's own.
    """

    gather: bool = True

    def of_all(self, *rows: Tensor) -> tuple[Tensor, ...]:
        """The rows of the whole batch, as `gather_rows` has them."""
        return gather_rows(*rows) if self.gather else rows

    def sum_of_all(self, tensor: Tensor) -> Tensor:
        """The sum of every process's tensor of this shape, without its graph."""
        return ranks.summed(tensor) if self.gather else tensor

    def share(self, count: int) -> slice:
        """Which of ``count`` rows are this process's."""
        return ranks.share(count) if self.gather else slice(0, count)


def _row_counts(tensor: Tensor) -> list[int]:
    # Read on the host, which waits for the device: a collective needs its sizes before it starts.
    own = torch.tensor([len(tensor)], device=tensor.device)
    counts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, own)
    return torch.cat(counts).tolist()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        missing = max(counts) - len(rows)
        padded = F.pad(rows, (0, 0) * (rows.dim() - 1) + (0, missing)).contiguous()
        chunks = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(chunks, padded)
        return torch.cat([chunk[:count] for chunk, count in zip(chunks, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        summed = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed.split(ctx.counts)[dist.get_rank()], None
