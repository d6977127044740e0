"""The benchmark we are plugged into: the real mdistiller where it can be imported, else the built-in host."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.config import CFG as BUILTIN
from mdistiller_icc.data import data_set
from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.version import __version__

NAMES = ("builtin", "mdistiller")


@dataclass(frozen=True)
class Host:
    """The registries of a host; both hosts have the same ones, and they are plain dictionaries.

    ``cifar_model_dict`` and ``tiny_imagenet_model_dict`` map a name to ``(factory, checkpoint path or None)``,
    ``imagenet_model_dict`` to ``factory(pretrained=bool)``.
    """

    name: str
    version: str
    path: str
    CFG: CfgNode
    distiller_dict: dict[str, Any]
    trainer_dict: dict[str, Any]
    cifar_model_dict: dict[str, Any]
    tiny_imagenet_model_dict: dict[str, Any]
    imagenet_model_dict: dict[str, Any]
    channels_last: frozenset[str] = frozenset()
    """Its networks that take images in channels-last layout."""
    note: str = ""
    """What else there is to say of it."""

    def __str__(self) -> str:
        where = f"mdistiller {self.version} at {self.path}" if self.name == "mdistiller" else f"built-in {self.version}"
        return f"host: {where}{self.note}"

    def models(self, dataset: str, image_size: int | None = None) -> dict[str, Any]:
        """The model dictionary whose networks are for a data set's images, of its own size unless another is given.

        Raises:
            UserError: there is no such data set.
        """
        models: dict[str, Any] = getattr(self, data_set(dataset).at(image_size).models)
        return models


@functools.cache
def get_host() -> Host:
    """Choose the host, once per process; ``MDISTILLER_ICC_HOST=builtin|mdistiller`` forces one.

    Raises:
        UserError: the variable holds something else, or the forced host cannot be imported.
    """
    forced = os.environ.get("MDISTILLER_ICC_HOST", "")
    if forced and forced not in NAMES:
        raise UserError(f"MDISTILLER_ICC_HOST is '{forced}', not one of {', '.join(NAMES)}{nearest(forced, NAMES)}")
    why = ""
    if forced == "mdistiller" or (not forced and importlib.util.find_spec("mdistiller") is not None):
        try:
            return _mdistiller()
        except ImportError as error:
            if forced:
                raise UserError(f"MDISTILLER_ICC_HOST is mdistiller, which cannot be imported: {error}") from None
            why = f" (mdistiller is installed but cannot be imported: {error})"
    return _builtin(why)


def lookup(registry: dict[str, Any], name: str, key: str, what: str) -> Any:
    """The entry of a host's registry that the setting ``key`` names.

    Raises:
        UserError: there is none.
    """
    if name not in registry:
        raise UserError(f"{key}: no {what} '{name}'{nearest(name, registry)}; there are {', '.join(sorted(registry))}")
    return registry[name]


def widen(cfg: CfgNode, floats: CfgNode) -> None:
    """Make every int of ``cfg`` a float where ``floats`` has one, in place: ``KD.TEMPERATURE`` 4 takes 2.5 then."""
    for key, value in floats.items():
        if isinstance(value, CfgNode):
            if isinstance(cfg.get(key), CfgNode):
                widen(cfg[key], value)
        elif type(value) is float and type(cfg.get(key)) is int:
            cfg[key] = float(cfg[key])


def _mdistiller() -> Host:
    distillers = importlib.import_module("mdistiller.distillers")
    engine = importlib.import_module("mdistiller.engine")
    models = importlib.import_module("mdistiller.models")
    config = importlib.import_module("mdistiller.engine.cfg")
    package = importlib.import_module("mdistiller")
    path = Path(package.__file__ or next(iter(package.__path__))).resolve()
    widen(config.CFG, BUILTIN)
    note = ""
    if not torch.cuda.is_available():
        # mdistiller calls it everywhere, in constructors too
        torch.Tensor.cuda = nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[method-assign, assignment]
        note = "; no GPU: .cuda() does nothing"
    return Host(
        name="mdistiller",
        version=str(getattr(package, "__version__", "0.1")),
        path=str(path.parent if path.is_file() else path),
        CFG=config.CFG,
        distiller_dict=distillers.distiller_dict,
        trainer_dict=engine.trainer_dict,
        cifar_model_dict=models.cifar_model_dict,
        tiny_imagenet_model_dict=getattr(models, "tiny_imagenet_model_dict", {}),  # since November 2023
        imagenet_model_dict=models.imagenet_model_dict,
        note=note,
    )


def _builtin(note: str) -> Host:
    from mdistiller_icc.builtin.distillers import distiller_dict
    from mdistiller_icc.builtin.models import OWN, cifar_model_dict, imagenet_model_dict, tiny_imagenet_model_dict
    from mdistiller_icc.engine.trainers import trainer_dict

    return Host(
        name="builtin",
        version=__version__,
        path=str(Path(__file__).parent / "builtin"),
        CFG=BUILTIN,
        distiller_dict=distiller_dict,
        trainer_dict=trainer_dict,
        cifar_model_dict=cifar_model_dict,
        tiny_imagenet_model_dict=tiny_imagenet_model_dict,
        imagenet_model_dict=imagenet_model_dict,
        channels_last=OWN,
        note=note,
    )
