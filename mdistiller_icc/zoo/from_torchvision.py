"""torchvision's classification networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from mdistiller_icc.builtin.models.imagenet_resnet import refuse_damaged
from mdistiller_icc.classifier import fit_classifier
from mdistiller_icc.features import stage_layers, with_features

from .image_size import resized_for
from .weights import Weights

AUXILIARY = ("googlenet", "inception_v3")
"""Networks with further classifiers for training, which are left out: they would return those logits as well."""


def names() -> list[str]:
    """Every network."""
    from torchvision import models

    return list(models.list_models(module=models))


def tags(name: str) -> list[str]:
    """The names of a network's trained weights, the usual ones first."""
    every = _weights(name)
    default = every.DEFAULT.name
    return [default, *(tag for tag in every.__members__ if tag not in (default, "DEFAULT"))]


def weights(name: str, tag: str) -> Weights:
    """What is known of a network's weights; those that are usual without a tag."""
    entry = _entry(name, tag)
    told = entry.transforms.keywords
    mean, std = told.get("mean", (0.485, 0.456, 0.406)), told.get("std", (0.229, 0.224, 0.225))
    return Weights(entry.url, len(entry.meta["categories"]), mean, std)


def build(name: str, tag: str, num_classes: int, pretrained: bool) -> nn.Module:
    """A network that hands out its pooled feature and the last map of every resolution; see `ZooNetwork`."""
    from torchvision import models

    entry = _entry(name, tag)
    size = entry.transforms.keywords["crop_size"]
    more: dict[str, Any] = {"aux_logits": False} if name in AUXILIARY else {}
    if name.startswith("vit_"):
        more["image_size"] = size
    if pretrained:
        refuse_damaged(Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name)
        model: nn.Module = models.get_model(name, weights=entry, **more)
        if num_classes != len(entry.meta["categories"]):
            fit_classifier(model, num_classes)
    else:
        model = models.get_model(name, num_classes=num_classes, **more)
    layers = stage_layers(model, size)
    return resized_for(with_features(model, stages=layers, preact_stages=layers), size)


def _weights(name: str) -> Any:
    from torchvision import models

    return models.get_model_weights(name)


def _entry(name: str, tag: str) -> Any:
    every = _weights(name)
    return every[tag] if tag else every.DEFAULT
