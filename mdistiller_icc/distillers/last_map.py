"""The last feature map of a network, and the logits that its classifier makes of that map."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.classifier import classifier_layer, classifier_name
from mdistiller_icc.data import described
from mdistiller_icc.distillers.base import Features
from mdistiller_icc.errors import UserError
from mdistiller_icc.probe import probe

OUTPUTS = "outputs"
"""Where, among a network's features, a sum of methods keeps what its layers made."""


class LastMap:
    """Finds the map whose average over space is a network's pooled feature, of which its classifier makes the logits.

    Most networks return it, before its ReLU. Of a student that does not, such as mdistiller's CIFAR MobileNetV2
    and ShuffleV2, it is taken from the layer that makes it; a teacher is run folded, so that is not possible there.

    Args:
        network: is looked at once, with one image.
        cfg: reads ``DATASET.TYPE``, for the image's size.
        role: ``"student"`` or ``"teacher"``.

    Raises:
        UserError: there is no such map.
    """

    def __init__(self, network: nn.Module, cfg: CfgNode, role: str) -> None:
        self.classifier = classifier_name(network, role)
        self.layer: str | None = None
        size, outputs = described(cfg).image_size, {}
        watched = [
            part.register_forward_hook(lambda _part, _given, made, name=name: outputs.update({name: made}))
            for name, part in network.named_modules()
            if role == "student" and name
        ]
        logits, features = probe(network, size)
        for handle in watched:
            handle.remove()
        found: Tensor | None = returned(features) if features.get("preact_feats") else None
        if found is None or not _averages_to(found, features):
            made = {name: output for name, output in outputs.items() if isinstance(output, Tensor)}
            maps = {name: F.relu(output) for name, output in made.items() if output.dim() == 4}
            fitting = [name for name in maps if _averages_to(maps[name], features)]
            largest = max((maps[name].shape[2:].numel() for name in fitting), default=0)  # a pooling layer comes later
            self.layer = next((name for name in fitting[::-1] if maps[name].shape[2:].numel() == largest), None)
            found = maps[self.layer] if self.layer else None
        if found is None or not _close(
            classified(network, self.classifier, found.mean((2, 3), keepdim=True))[:, :, 0, 0], logits
        ):
            raise UserError(
                f"the {role} {type(network).__name__} has no feature map whose average its classifier takes, "
                "which this method compares"
            )
        self.layers = () if self.layer is None else (self.layer,)
        self.shape = found.shape[1:]
        """(D, h, w)."""

    def run(self, network: nn.Module, image: Tensor) -> tuple[Tensor, Features, Tensor]:
        """A student's logits and features for ``image``, and its last map (B, D, h, w)."""
        if self.layer is None:
            logits, features = network(image)
            return logits, features, returned(features)
        with outputs(network, self.layers) as made:
            logits, features = network(image)
        return logits, features, F.relu(features.get(OUTPUTS, made)[self.layer])


@contextlib.contextmanager
def outputs(network: nn.Module, layers: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """What layers of a network made when it last ran in here, by their names."""
    made: dict[str, Tensor] = {}
    parts = {layer: network.get_submodule(layer) for layer in layers}
    for part in parts.values():
        if getattr(part, "_is_replica", False):  # those of DataParallel share their hooks, in threads of their own
            part._forward_hooks = OrderedDict(part._forward_hooks)
    handles = [
        part.register_forward_hook(lambda _part, _given, output, layer=layer: made.update({layer: output}))
        for layer, part in parts.items()
    ]
    try:
        yield made
    finally:
        for handle in handles:
            handle.remove()


def returned(features: Features) -> Tensor:
    """The last map of those that a network returns."""
    return F.relu(features["preact_feats"][-1])


def classified(network: nn.Module, classifier: str, feature: Tensor, bias: bool = True) -> Tensor:
    """What a network's classifier makes of every position of a map (B, D, h, w): (B, C, h, w)."""
    layer = classifier_layer(network, classifier)
    return F.conv2d(feature, layer.weight.flatten(1)[:, :, None, None], layer.bias if bias else None)


def _averages_to(feature: Tensor, features: Features) -> bool:
    pooled = features["pooled_feat"].flatten(1)
    return feature.shape[:2] == pooled.shape and _close(feature.mean((2, 3)), pooled)


def _close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-3 * b.abs().max())
