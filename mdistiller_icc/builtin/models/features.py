"""What every model of the built-in host hands out beside its logits, and what it tells about its stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UserError

Output = tuple[Tensor, dict[str, Any]]
"""``(logits, {"feats": [...], "preact_feats": [...], "pooled_feat": (B, D)})``."""


class Staged:
    """What distillers ask a model about its stages.

    A model sets ``stage_channels``, one entry per map in ``feats``, and names in ``feature_modules`` the
    children that make those maps.
    """

    stage_channels: list[int]
    feature_modules: ClassVar[tuple[str, ...]]

    def get_feat_modules(self) -> nn.ModuleList:
        """The children that make the features, in the order they run."""
        return nn.ModuleList([getattr(self, name) for name in self.feature_modules])

    def get_stage_channels(self) -> list[int]:
        """The number of channels of each map in ``feats``."""
        return list(self.stage_channels)

    def get_bn_before_relu(self) -> list[nn.BatchNorm2d]:
        """The batch norms that end the stages, last stage last; match them with ``preact_feats`` from the end.

        Raises:
            UserError: the stages of this architecture do not end in one batch norm each.
        """
        raise UserError(f"{type(self).__name__} cannot be OFD's teacher: its stages do not end in a batch norm")


def last_norm(module: nn.Module) -> nn.BatchNorm2d:
    """The batch norm that is defined last in ``module``, where that is the one it ends in."""
    return [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)][-1]


def read_out(head: Callable[[Tensor], Tensor], last: Tensor, feats: list[Tensor], preacts: list[Tensor]) -> Output:
    """Pool the last map over space, classify it, and hand out the features with the logits.

    Args:
        head: from pooled features (B, D) to logits (B, classes).
        last: the map (B, D, H, W), of any height and width.
        feats: the stages' outputs.
        preacts: the same before their last ReLU (the stem's entry is its output, as in mdistiller).
    """
    pooled = F.adaptive_avg_pool2d(last, 1).flatten(1)
    return head(pooled), {"feats": feats, "preact_feats": preacts, "pooled_feat": pooled}
