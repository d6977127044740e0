"""Where a model keeps its class centres: the weights of its last layer, whatever the model calls it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdistiller_icc.errors import UserError


def classifier_name(model: nn.Module, role: str) -> str:
    """Return the path of the layer whose output is the logits: ``"fc"``, ``"classifier.0"``, ``"linear"``, ….

    It is the last linear layer in the order of definition; a model without linear layers may end in a
    1×1 convolution instead, as mdistiller's Tiny-ImageNet MobileNetV2 does.

    Args:
        model: any network.
        role: ``"student"`` or ``"teacher"``, for the message.

    Raises:
        UserError: there is no such layer, or another linear layer has as many outputs.

    >>> classifier_name(nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 10)), "student")
    '3'
    """
    kind = type(model).__name__
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    if not linear:
        name, last = [(name, layer) for name, layer in model.named_modules() if not list(layer.children())][-1]
        if isinstance(last, nn.Conv2d) and last.kernel_size == (1, 1) and last.groups == 1:
            return name
        raise UserError(f"no classifier in the {role}: {kind} has no linear layer and no last 1×1 convolution")
    name = list(linear)[-1]
    twins = [other for other in linear if linear[other].out_features == linear[name].out_features]
    if len(twins) > 1:
        raise UserError(
            f"which layer of the {role} is its classifier is not clear: {', '.join(twins)} of {kind} "
            f"all have {linear[name].out_features} outputs"
        )
    return name


def classifier_layer(model: nn.Module, name: str) -> nn.Linear | nn.Conv2d:
    """The layer that `classifier_name` found."""
    layer = model.get_submodule(name)
    assert isinstance(layer, (nn.Linear, nn.Conv2d)), f"{name} is no classifier"
    return layer


def fit_classifier(model: nn.Module, num_classes: int) -> None:
    """Put a new classifier of ``num_classes`` outputs into a network whose own has another number.

    Raises:
        UserError: see `classifier_name`.
    """
    name = classifier_name(model, "network")
    layer = classifier_layer(model, name)
    if len(layer.weight) == num_classes:
        return
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        fitting: nn.Module = nn.Linear(layer.in_features, num_classes, bias)
    else:
        fitting = nn.Conv2d(layer.in_channels, num_classes, kernel_size=1, bias=bias)
    model.set_submodule(name, fitting)


def centers(model: nn.Module, name: str) -> Tensor:
    """The classifier's weights, one row per class, (C, D)."""
    return classifier_layer(model, name).weight.flatten(1)


def centers_with_bias(model: nn.Module, name: str) -> Tensor:
    """``[W|b]``, (C, D + 1), or ``W`` alone where the classifier has no bias."""
    bias = classifier_layer(model, name).bias
    weight = centers(model, name)
    return weight if bias is None else torch.cat([weight, bias.unsqueeze(1)], dim=1)
