"""The two hosts that parity is about, behind one interface."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.models import upstream
from mdistiller_icc.distillers.methods import distiller_dict as plugin_distillers
from mdistiller_icc.teachers import store


@dataclass(frozen=True)
class Host:
    """A host's registries, each imported when it is first asked for.

    ``models`` holds ``cifar_model_dict``, ``tiny_imagenet_model_dict`` and ``imagenet_model_dict``,
    ``distillers`` holds ``distiller_dict``.
    """

    name: str
    package: str
    config_module: str

    @cached_property
    def models(self) -> ModuleType:
        return importlib.import_module(f"{self.package}.models")

    @cached_property
    def distillers(self) -> ModuleType:
        return importlib.import_module(f"{self.package}.distillers")

    def own(self, registry: dict[str, Any]) -> list[str]:
        """The names in a registry that are the host's own: another test may have registered the plugin's."""
        plugins = {"ICC", *plugin_distillers}
        return [name for name in registry if name not in plugins and store.parse(name) is None]

    def cfg(self) -> CfgNode:
        """A fresh copy of the host's configuration, with mdistiller's behaviour asked for."""
        cfg = importlib.import_module(self.config_module).CFG.clone()
        if "COMPAT" in cfg:
            cfg.COMPAT.UPSTREAM = True
        return cfg

    def build(self, factory: Callable[..., nn.Module], **arguments: Any) -> nn.Module:
        """Call a model factory, with mdistiller's behaviour asked for."""
        return upstream.build(factory, upstream=True, **arguments)


def builtin() -> Host:
    """The built-in host with ``COMPAT.UPSTREAM`` on."""
    return Host("builtin", "mdistiller_icc.builtin", "mdistiller_icc.builtin.config")


def real(root: str | None = None) -> Host | None:
    """The real mdistiller, from a checkout, ``$MDISTILLER_ROOT`` or the import path; None if there is none."""
    root = root or os.environ.get("MDISTILLER_ROOT")
    if root and root not in sys.path:
        sys.path.insert(0, root)
    if importlib.util.find_spec("mdistiller") is None:
        return None
    return Host("mdistiller", "mdistiller", "mdistiller.engine.cfg")


def commit(host: Host) -> str:
    """The commit of the real host's checkout, or ``"unknown"``."""
    folder = Path(host.models.__file__).parent
    asked = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True)
    return asked.stdout.strip() or "unknown"
