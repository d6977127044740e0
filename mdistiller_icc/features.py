"""Features of networks that return logits alone, taken from their layers by forward hooks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

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
        stages: the layers whose outputs ``(B, D, H, W)`` are ``feats``: the stem first, then the stages; channels that
            come last ``(B, H, W, D)`` and tokens ``(B, H·W, D)``, after those of no place, are brought to that form.
        preact_stages: the same for ``preact_feats``, before the ReLU.

    Raises:
        UserError: there is no such layer.

    >>> from torchvision.models import resnet18  # doctest: +SKIP
    >>> model = with_features(resnet18(), stages=["relu", "layer1", "layer2", "layer3", "layer4"])  # doctest: +SKIP
    """
    if isinstance(model, _HandsOut):
        raise UserError(f"{type(model).__name__} returns a tuple, not logits alone")
    layers = dict(model.named_modules())
    for name in (*([pooled] if pooled else []), *stages, *preact_stages):
        if name not in layers:
            raise UserError(f"{type(model).__name__} has no layer '{name}'{nearest(name, layers)}")
    try:
        classifier = None if pooled else classifier_name(model, "network")
    except UserError:  # then nobody knows what it reads
        classifier = None
    made: Made = {}
    names = {name for name in (pooled, classifier, *stages, *preact_stages) if name is not None}
    for name in names:
        layers[name].register_forward_hook(_Keep(made, name))
    taken = mixed(model, _HandsOut)
    taken.hand_out = _Return(made, pooled, classifier, stages, preact_stages)
    return taken


def complete(model: nn.Module, image_size: int) -> nn.Module:
    """Have a network that returns logits alone return ``pooled_feat`` too, and any other say which feature it lacks.

    Args:
        model: returns logits ``(B, C)``, or ``(logits, features)``.
        image_size: height and width of the images that it takes.
    """
    match returned(model, image_size):
        case Tensor():
            return with_features(model)
        case (Tensor(), dict() as features) if not isinstance(features, Features):
            model.register_forward_hook(_tell)
    return model


def _tell(_model: nn.Module, _inputs: Any, output: Any) -> tuple[Tensor, Features]:
    logits, features = output
    return logits, Features(features)


Mixin = TypeVar("Mixin", bound=nn.Module)


def mixed(model: nn.Module, mixin: type[Mixin]) -> Mixin:
    """The same network with another class's methods before those of its own, whose name the new class has.

    Whoever calls it, with hooks or without, or asks for its parts, then finds one network.
    """
    kind = type(model)
    model.__class__ = type(kind.__name__, (mixin, kind), {})
    assert isinstance(model, mixin)
    return model


class _HandsOut(nn.Module):
    hand_out: _Return

    def forward(self, *inputs: Any) -> tuple[Tensor, Features]:
        return self.hand_out(type(self).__name__, super().forward(*inputs))


def stage_layers(model: nn.Module, image_size: int) -> list[str]:
    """The layers that make the last map of every resolution, finest first and `stem_first`, for `with_features`.

    They are looked for among a network's blocks, not inside of them: what makes a map of less than half its height is
    no block, but a row of some. The part of the network that averages over space is its head.

    Args:
        model: returns logits ``(B, C)``.
        image_size: height and width of the images that it takes.

    Raises:
        UserError: it takes no images of that size.
    """
    made: dict[str, _Made] = {}
    pooled = "", 0

    def keep(name: str, layer: nn.Module, given: Any, output: Any) -> None:
        nonlocal pooled
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            pooled = name.partition(".")[0], len(made)
        if isinstance(output, Tensor):
            before = _height(given[0]) if given and isinstance(given[0], Tensor) else 0
            made[name] = _Made(output, _version(output), _height(output), 2 * _height(output) + 1 < before)

    handles = [
        layer.register_forward_hook(lambda layer, given, output, name=name: keep(name, layer, given, output))
        for name, layer in model.named_modules()
        if name
    ]
    try:
        returned(model, image_size)
    finally:
        for handle in handles:
            handle.remove()
    last: dict[int, str] = {}
    head, end = pooled if pooled[0] else ("", len(made))
    for name, one in [*made.items()][:end]:
        inside = any(outer in made and not made[outer].is_row for outer in _outer(name))
        if one.height and not inside and name.partition(".")[0] != head and _version(one.output) == one.version:
            last[one.height] = name
    finest = sorted(last, reverse=True)
    return stem_first([last[height] for height in finest], max(finest, default=0), image_size)


class _Made(NamedTuple):
    output: Tensor
    version: int
    height: int
    """0 if the output is no map."""
    is_row: bool


def _outer(name: str) -> list[str]:
    """The layers that a layer is part of, by their names: ``a``, ``a.b`` of ``a.b.c``."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _height(output: Tensor) -> int:
    feature = _as_map(output)
    return feature.shape[2] if feature is not None and feature.shape[2] == feature.shape[3] else 0


Stage = TypeVar("Stage")


def stem_first(stages: list[Stage], height: int, image_size: int) -> list[Stage]:
    """Stages, finest first, after a stem: the first of them, unless that is half as high as the image, or higher.

    Methods leave the stem out, and a network of patches has none.

    Args:
        stages: of a network.
        height: of the first one's map.
        image_size: height of the image.

    >>> stem_first(["patches", "merged"], 8, 32), stem_first(["stem", "first"], 16, 32)
    (['patches', 'patches', 'merged'], ['stem', 'first'])
    """
    return stages if 2 * height >= image_size else [*stages[:1], *stages]


def _as_map(output: Tensor) -> Tensor | None:
    """A layer's output as ``(B, D, H, W)``; None if it has no such form."""
    if output.dim() == 4:
        height, width, last = output.shape[1:]
        return output.permute(0, 3, 1, 2) if height == width != last else output
    if output.dim() == 3:
        side = math.isqrt(output.shape[1])
        return output[:, -side * side :].transpose(1, 2).unflatten(2, (side, side)) if side else None
    return None


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

    def __call__(self, network: str, output: Any) -> tuple[Tensor, Features]:
        if not isinstance(output, Tensor):
            raise UserError(f"{network} returns a {type(output).__name__}, not logits alone")
        features = Features(
            {name: [self._map_of(layer) for layer in layers] for name, layers in self.lists.items() if layers}
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

    def _map_of(self, layer: str) -> Tensor:
        output = self._of(layer)
        feature = _as_map(output)
        return output if feature is None else feature

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
