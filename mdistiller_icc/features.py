"""Features of networks that return logits alone, taken by forward hooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mdistiller_icc.classifier import classifier_name
from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.probe import returned


class Features(dict[str, Any]):
    """What hooks took of a forward pass; asked for something else, it says how to have it."""

    def __missing__(self, name: str) -> Any:
        raise UserError(
            f"the method needs the feature '{name}', which the network does not return: name its layers with "
            "mdistiller_icc.with_features, or let forward return (logits, {'feats': [stem, stage, …], 'preact_feats': "
            "[the same before ReLU], 'pooled_feat': (B, D)})"
        )


def with_features(
    model: nn.Module, pooled: str | None = None, stages: Sequence[str] = (), preact_stages: Sequence[str] = ()
) -> nn.Module:
    """Have a network return ``(logits, features)`` instead of its logits; the same network, with hooks in it.

    Weights and their names stay what they are, so its checkpoints fit the network without hooks.

    Args:
        model: returns logits ``(B, C)``.
        pooled: the layer whose output, averaged over its positions, is ``pooled_feat`` ``(B, D)``; None: what the
            classifier reads.
        stages: the layers whose outputs ``(B, D, H, W)`` are ``feats``: the stem first, then the stages.
        preact_stages: the same for ``preact_feats``, before the ReLU.

    Raises:
        UserError: there is no such layer.

    >>> from torchvision.models import resnet18  # doctest: +SKIP
    >>> model = with_features(resnet18(), stages=["relu", "layer1", "layer2", "layer3", "layer4"])  # doctest: +SKIP
    """
    attach(model, pooled, stages, preact_stages)
    return model


def complete(model: nn.Module, image_size: int) -> list[RemovableHandle]:
    """Have a network that returns logits alone return ``pooled_feat`` too, and any other say which feature it lacks.

    Args:
        model: returns logits ``(B, C)``, or ``(logits, features)``.
        image_size: height and width of the images that it takes.

    Returns:
        The hooks; none where there was nothing to do.
    """
    match returned(model, image_size):
        case Tensor():
            return attach(model)
        case (Tensor(), dict() as features) if not isinstance(features, Features):
            return [model.register_forward_hook(_tell)]
    return []


def _tell(_model: nn.Module, _inputs: Any, output: Any) -> tuple[Tensor, Features]:
    logits, features = output
    return logits, Features(features)


def attach(
    model: nn.Module, pooled: str | None = None, stages: Sequence[str] = (), preact_stages: Sequence[str] = ()
) -> list[RemovableHandle]:
    """The hooks of `with_features`, to be removed one day."""
    layers = dict(model.named_modules())
    for name in (*([pooled] if pooled else []), *stages, *preact_stages):
        if name not in layers:
            raise UserError(f"{type(model).__name__} has no layer '{name}'{nearest(name, layers)}")
    try:
        classifier = None if pooled else classifier_name(model, "network")
    except UserError:  # then nobody knows what it reads
        classifier = None
    made: Made = {}
    names = {pooled, classifier, *stages, *preact_stages} - {None}
    handles = [layers[name].register_forward_hook(_Keep(made, name)) for name in names if name is not None]
    return [*handles, model.register_forward_hook(_Return(made, pooled, classifier, stages, preact_stages))]


Made = dict[str, tuple[Tensor, Tensor, int]]
"""By a layer's name, what it was given and what it made in the present forward pass, and the version of the latter."""


class _Keep:
    def __init__(self, made: Made, name: str) -> None:
        self.made, self.name = made, name

    def __call__(self, _layer: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise UserError(f"the layer '{self.name}' makes a {type(output).__name__}, no feature")
        self.made[self.name] = inputs[0], output, _version(output)


class _Return:
    def __init__(
        self,
        made: Made,
        pooled: str | None,
        classifier: str | None,
        stages: Sequence[str],
        preact_stages: Sequence[str],
    ) -> None:
        self.made, self.pooled, self.classifier = made, pooled, classifier
        self.lists = {name: list(layers) for name, layers in (("feats", stages), ("preact_feats", preact_stages))}

    def __call__(self, model: nn.Module, _inputs: Any, output: Any) -> tuple[Tensor, Features]:
        if not isinstance(output, Tensor):
            raise UserError(f"{type(model).__name__} returns a {type(output).__name__}, not logits alone")
        features = Features(
            {name: [self._of(layer) for layer in layers] for name, layers in self.lists.items() if layers}
        )
        if self.pooled is not None:
            pooled = self._of(self.pooled)
            if pooled.dim() == 3:
                raise UserError(f"the layer '{self.pooled}' makes {tuple(pooled.shape)}; wanted (B, D) or (B, D, H, W)")
            features["pooled_feat"] = pooled.flatten(2).mean(2) if pooled.dim() > 2 else pooled
        elif self.classifier in self.made and self.made[self.classifier][1] is output:
            features["pooled_feat"] = self.made[self.classifier][0]
        self.made.clear()
        return output, features

    def _of(self, layer: str) -> Tensor:
        if layer not in self.made:
            raise UserError(f"the layer '{layer}' took no part in the forward pass")
        _, output, version = self.made[layer]
        if _version(output) != version:
            raise UserError(f"what the layer '{layer}' makes is changed in place by the next one, which you may name")
        return output


def _version(tensor: Tensor) -> int:
    """Grows with every change in place; 0 where torch does not count."""
    return 0 if torch.compiler.is_compiling() or tensor.is_inference() else tensor._version
