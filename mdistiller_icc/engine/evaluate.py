"""The accuracy of a network on a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc import ranks
from mdistiller_icc.engine.precision import autocast


class Accuracy(NamedTuple):
    """Top-1 and top-5 in percent, and the mean cross-entropy in nats."""

    top1: float
    top5: float
    loss: float


def correct(logits: Tensor, target: Tensor) -> Tensor:
    """How many samples have their class first, and among the first five, as a tensor ``(2,)`` on the device.

    With fewer than five classes the second is the whole batch.
    """
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hit = best == target[:, None]
    return torch.stack([hit[:, 0].sum(), hit.sum()])


@torch.no_grad()
def evaluate(
    forward: Callable[[Tensor], Tensor],
    loader: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
    precision: str = "fp32",
) -> Accuracy:
    """Classify every image of ``loader`` with ``forward`` (images to logits); one device wait, at the end.

    Of several processes each classifies the images of its loader, and all know the accuracy on all of them.

    Args:
        forward: a network in eval mode.
        loader: yields ``(image, target)``.
        device: where the batches go.
        precision: ``fp32`` or ``bf16``.
    """
    sums = torch.zeros(4, dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
    for image, target in loader:
        image, target = image.to(device, non_blocking=True), target.to(device, non_blocking=True)
        with autocast(precision, device):
            logits = forward(image)
        logits = logits.float()
        loss = F.cross_entropy(logits, target, reduction="sum")
        sums[:3] += torch.cat([correct(logits, target).to(sums.dtype), loss.reshape(1).to(sums.dtype)])
        sums[3] += len(target)
    top1, top5, loss, count = ranks.summed(sums).tolist()
    return Accuracy(100 * top1 / count, 100 * top5 / count, loss / count)
