"""A distiller that several processes train: their gradients are averaged, and what each has of its own is looked after.

Nothing here does anything where there is one process.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map

from mdistiller_icc import ranks
from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.engine.generators import random_state, restore_random_state
from mdistiller_icc.errors import UserError


def distributed(distiller: Distiller, device: torch.device) -> nn.Module:
    """The distiller's training pass, whose backward pass averages the gradients of all processes.

    Args:
        distiller: after a backward pass of its own, which shows whether it leaves parameters out.
        device: where it is.
    """
    if ranks.world() == 1:
        return distiller
    without = any(parameter.grad is None for parameter in distiller.get_learnable_parameters())
    unused = any(ranks.of_all(without))  # what one process left out of its step the others may leave out of another
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")  # of 1×1 convolutions
    # Buffers are not copied from the first process at every step: `settle` does it once an epoch.
    buffers = [name for name, _ in distiller.named_buffers()]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(distiller, buffers)
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(distiller, device_ids=devices, find_unused_parameters=unused)


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of all processes after a backward pass that has not done so itself."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if ranks.world() == 1 or not gradients:
        return
    mean = ranks.summed(torch.cat([gradient.flatten() for gradient in gradients])) / ranks.world()
    for gradient, part in zip(gradients, mean.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def weight(size: int, last: bool) -> float:
    """What a process's loss of a step counts for, so that the average over them is the mean over all images.

    Args:
        size: its share of the batch.
        last: whether it is the epoch's last batch, the only one whose shares may differ.
    """
    if ranks.world() == 1 or not last:
        return 1.0
    return size * ranks.world() / sum(ranks.of_all(size))


@torch.no_grad()
def settle(distiller: Distiller, device: torch.device) -> None:
    """At the end of an epoch all processes go on from the first one's batch-norm statistics and random numbers."""
    if ranks.world() == 1:
        return
    common = ("",) if distiller.gather else _common(distiller)
    for name, buffer in distiller.named_buffers():
        if name.startswith(common) and not name.startswith("teacher.") and buffer.numel():
            dist.broadcast(buffer, 0)
    restore_random_state(ranks.of_first(random_state(device)), device)


def own_state(distiller: Distiller) -> dict[str, Any]:
    """What each process keeps for itself, of its state: the method's queues and memories, where they are not of all."""
    if ranks.world() == 1 or distiller.gather:
        return {}
    parameters = {name for name, _ in distiller.named_parameters()}
    others = ("teacher.", *_common(distiller))
    own = {k: v for k, v in distiller.state_dict().items() if not k.startswith(others) and k not in parameters}
    # On the processor: what is sent from a GPU arrives on the GPU of that number, whoever has it.
    return tree_map(lambda value: value.cpu() if isinstance(value, Tensor) else value, own)


def _common(distiller: Distiller) -> tuple[str, ...]:
    """Beginnings of the names of what all processes have alike, whatever they relate: the student and batch norms."""
    norms = (f"{name}." for name, module in distiller.named_modules() if isinstance(module, _BatchNorm))
    return "student.", *norms


def has_batch_norms(distiller: Distiller) -> bool:
    """Whether what is trained has batch norms."""
    named = distiller.named_modules()
    return any(isinstance(module, _BatchNorm) for name, module in named if not name.startswith("teacher."))


def synchronise_batch_norms(distiller: Distiller, device: torch.device) -> None:
    """Have every batch norm that is trained see the images of all processes, ``SOLVER.SYNC_BN``.

    Raises:
        UserError: one of them does more than normalise, as timm's with an activation.
    """
    if ranks.world() == 1:
        return
    for name, part in list(distiller.named_children()):
        if name == "teacher":
            continue
        for where, module in part.named_modules(prefix=name):
            if not isinstance(module, _BatchNorm):
                continue
            if type(module).forward not in (_BatchNorm.forward, nn.SyncBatchNorm.forward):
                # It would lose what it does beside, such as an activation.
                what = f"{where} is a {type(module).__name__}, which does more than normalise"
                raise UserError(f"SOLVER.SYNC_BN True: {what}; train with SOLVER.SYNC_BN False")
            # In its place, so that hooks stay.
            module.__class__ = nn.SyncBatchNorm if device.type == "cuda" else SyncBatchNorm
            module.__dict__.setdefault("process_group", None)  # all processes


class _Sum(torch.autograd.Function):
    """The sum over all processes, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return ranks.summed(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return ranks.summed(gradient)


class SyncBatchNorm(_BatchNorm):
    """What `torch.nn.SyncBatchNorm` is on a GPU, the only place where that works, for other devices."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Any (B, C, …) will do."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, …) with the statistics of all processes' images."""
        if not self.training:
            return super().forward(input)
        over, channels = [0, *range(2, input.dim())], input.shape[1]
        shape = [1, channels, *[1] * (input.dim() - 2)]
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        sums = _Sum.apply(torch.cat([x.sum(over), x.new_tensor([x.numel() / channels])]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = x - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(over)) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked += 1
                new = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
                self.running_mean.lerp_(mean, new)
                self.running_var.lerp_(variance * (count / (count - 1)), new)
        normal = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)
