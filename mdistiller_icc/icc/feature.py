"""Which of a network's features ICC spreads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mdistiller_icc.errors import UserError


def select(logits: Tensor, features: dict[str, Any], name: str) -> Tensor:
    """Return the feature called ``name`` as one vector per image, ``(B, D)``.

    Args:
        logits: ``(B, C)``.
        features: what the network returned beside its logits.
        name: ``ICC.FEATURE``: ``pooled_feat`` (the default), ``logits``, or a stage such as ``feats.2`` or
            ``preact_feats.3``, averaged over its positions.

    Raises:
        UserError: there is no such feature.
    """
    if name == "logits":
        return logits
    key, _, stage = name.partition(".")
    feature = features.get(key)
    if isinstance(feature, (list, tuple)) and stage.isdigit() and int(stage) < len(feature):
        feature = feature[int(stage)]
    elif stage or not isinstance(feature, Tensor):
        known = ["logits"]
        for known_key, value in features.items():
            many = isinstance(value, (list, tuple))
            known += [f"{known_key}.{i}" for i in range(len(value))] if many else [known_key]
        raise UserError(
            f"ICC.FEATURE: the network has no feature '{name}'; it has {', '.join(known)}; with_features takes others"
        )
    return torch.flatten(feature, 2).mean(2) if feature.dim() > 2 else feature
