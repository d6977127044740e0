"""What somebody's own code hands to ICC, looked at before anything is done with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from yacs.config import CfgNode

from mdistiller_icc import settings
from mdistiller_icc.errors import UserError
from mdistiller_icc.icc.positive import Memory, Positive, Twin
from mdistiller_icc.icc.settings import SETTINGS


def check_arguments(node: dict[str, Any], sizes: dict[str, int | None]) -> None:
    """Look at what `ICCLoss` is made of.

    Args:
        node: by the keys of the node ``ICC``.
        sizes: counts of something, by their names; None where nobody knows.

    Raises:
        UserError: one of them is out of range.
    """
    settings.check(CfgNode(node), SETTINGS, "ICC.")
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise UserError(f"ICCLoss: {name} must be at least 1, not {size}")


def check_batch(
    positive: Positive, feature: Tensor | Any, target: Tensor, index: Tensor | None, share: Callable[[int], slice]
) -> None:
    """Look at the shapes, which costs no wait for the device.

    Args:
        positive: says what it needs; of D = 0, if it has seen no feature yet.
        feature: ``(B + V, D)``; somebody may have handed in something else.
        target: ``(B,)``.
        index: ``(B,)``, or None.
        share: which of so many rows are this process's.

    Raises:
        UserError: one of them is not what it has to be, or missing.
    """
    if not isinstance(feature, Tensor):
        what = f"a {type(feature).__name__}"
        raise UserError(f"ICCLoss: feature is {what}; wanted a tensor (B + V, D), such as features['pooled_feat']")
    if target.dim() != 1 or target.is_floating_point():
        raise UserError(f"ICCLoss: target is {tuple(target.shape)}; wanted class numbers (B,), as before any mixup")
    if index is None and not isinstance(positive, Twin):
        raise UserError("ICCLoss: wanted index, the images' numbers; without them only positive='twin' works")
    if isinstance(positive, Memory) and not len(positive.table):
        raise UserError("ICCLoss: wanted num_data, how many training images there are, for positive='memory'")
    batch, asked = len(target), share(len(positive.second_views(target, lambda *rows: rows)))
    views = batch if isinstance(positive, Twin) else asked.stop - asked.start
    dim = positive.dim or feature.shape[-1]
    if feature.shape != (batch + views, dim):
        of_views = f", of the batch and after it of the {views} images of second_views(index)" if views else ""
        raise UserError(f"ICCLoss: feature is {tuple(feature.shape)}; wanted ({batch + views}, {dim}){of_views}")
