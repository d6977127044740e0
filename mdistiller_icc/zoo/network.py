"""A zoo's network under its name, as the model dictionaries of a host hold theirs."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

from torch import nn

from mdistiller_icc.errors import UserError, nearest

from . import from_timm, from_torchvision
from .weights import Weights

ZOOS: dict[str, ModuleType] = {"timm": from_timm, "torchvision": from_torchvision}


@dataclass(frozen=True)
class ZooNetwork:
    """A factory of one network, ``timm/convnext_tiny``, or of one with the weights that it begins from.

    What it makes returns ``(logits, {"feats": …, "preact_feats": …, "pooled_feat": …})`` and has the zoo's own
    state-dict keys. ``feats`` begin with a stem of half the image's size, or with the first stage twice; what lies
    before a stage's last ReLU is not known, so ``preact_feats`` are the same. A network that takes images of one size
    alone resizes those that it is given.

    Attributes:
        zoo: ``timm`` or ``torchvision``.
        model: as it is called there.
        tag: of trained weights, as they are called there; empty if none are named.

    >>> ZooNetwork.named("timm/convnext_tiny.fb_in1k").tag
    'fb_in1k'
    """

    zoo: str
    model: str
    tag: str

    @classmethod
    def named(cls, name: str) -> ZooNetwork:
        """Take ``ZOO/MODEL`` or ``ZOO/MODEL.TAG`` apart."""
        zoo, _, rest = name.partition("/")
        model, _, tag = rest.partition(".")
        return cls(zoo, model, tag)

    def __call__(self, num_classes: int = 1000, pretrained: bool = False) -> nn.Module:
        """The network, with the weights of ``tag``, or the usual ones, if it is to be ``pretrained``.

        Raises:
            UserError: the zoo is not installed, or its weights cannot be fetched.
        """
        made: nn.Module = ZOOS[self.zoo].build(self.model, self.tag, num_classes, pretrained)
        return made

    @property
    def weights(self) -> Weights:
        """Those that `__call__` takes.

        Raises:
            UserError: there are none.
        """
        found: Weights = ZOOS[self.zoo].weights(self.model, self.tag)
        return found

    def check(self, key: str) -> None:
        """Look at whether there is such a network.

        Args:
            key: the setting that names it.

        Raises:
            UserError: there is none, or no such weights of it, or the zoo is not installed.
        """
        zoo = ZOOS[self.zoo]
        known = zoo.names()
        if self.model not in known:
            raise UserError(f"{key}: {self.zoo} has no network '{self.model}'{nearest(self.model, known)}")
        if self.tag and self.tag not in (tags := zoo.tags(self.model)):
            has = f"it has {', '.join(tags)}" if tags else "it has none"
            raise UserError(
                f"{key}: {self.zoo} has no weights '{self.tag}' of {self.model}{nearest(self.tag, tags)}; {has}"
            )


def admit(models: dict[str, Any], name: str, key: str) -> None:
    """Put a zoo's network into a host's model dictionary, in the dictionary's own form, when it is first named.

    Args:
        models: is changed if ``name`` begins with a zoo's.
        name: an architecture.
        key: the setting that names it.

    Raises:
        UserError: the zoo has none of that name.
    """
    if name in models or name.partition("/")[0] not in ZOOS:
        return
    network = ZooNetwork.named(name)
    network.check(key)
    pairs = any(isinstance(entry, tuple) for entry in models.values())
    models[name] = (network, None) if pairs else network


def of_zoo(entry: Any) -> ZooNetwork | None:
    """The factory in an entry of a model dictionary, if it is a zoo's; else None."""
    factory = entry[0] if isinstance(entry, tuple) else entry
    return factory if isinstance(factory, ZooNetwork) else None
