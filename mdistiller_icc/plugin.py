"""Everything the plugin adds to a host, on one screen."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from mdistiller_icc import schema
from mdistiller_icc.builtin.distillers import distiller_dict as builtin
from mdistiller_icc.config import ADDED, extend
from mdistiller_icc.data import data_sets
from mdistiller_icc.distillers.base import Distiller, Hooks
from mdistiller_icc.distillers.methods import distiller_dict as distillers
from mdistiller_icc.host import Host, get_host
from mdistiller_icc.icc import ICC
from mdistiller_icc.icc.host_trainer import icc_trainer
from mdistiller_icc.settings import Settings, suiting
from mdistiller_icc.teachers import resolve, store, weights

OURS: dict[str, type[Distiller]] = {"ICC": ICC, **distillers}
METHODS = {**builtin, **OURS}
"""Every method that we know the settings of."""


class Registered(NamedTuple):
    """What `register` added to which host, and the names it left alone because the host had them."""

    host: Host
    added: dict[str, list[str]]
    kept: list[str]

    def __str__(self) -> str:
        parts = [
            f"{len(names)} {what}" if len(names) > 6 else f"{what} {', '.join(names)}"
            for what, names in self.added.items()
            if names
        ]
        kept = f"; left alone, the host has its own: {', '.join(self.kept)}" if self.kept else ""
        return f"registered: {'; '.join(parts)}{kept}"


@functools.cache
def _register() -> Registered:
    host = get_host()
    added: dict[str, list[str]] = {"distillers": [], "trainers": [], "config nodes": [], "teachers": []}
    kept: list[str] = []

    def add(registry: dict[str, Any], name: str, entry: Any, what: str) -> bool:
        if name in registry:
            kept.append(name)
            return False
        registry[name] = entry
        added[what].append(name)
        return True

    for name, distiller in OURS.items():
        if add(host.distiller_dict, name, distiller, "distillers") and name not in host.CFG:
            host.CFG[name] = distiller.defaults()
            added["config nodes"].append(name)
    added["config nodes"] += extend(host.CFG, ADDED)
    add(host.trainer_dict, "icc", icc_trainer(host), "trainers")

    for dataset in data_sets().values():
        if dataset.known_to != "mdistiller":
            continue
        models = host.models(dataset.name)
        for architecture, entry in list(models.items()):
            for kind in store.KINDS.values():
                teacher = store.TeacherName(architecture, kind)
                file = store.path(dataset.name, teacher)
                add(models, str(teacher), with_weights(entry, file, architecture), "teachers")
    return Registered(host, added, kept)


def register(verbose: bool = True) -> Registered:
    """Add the ICC recipe, our distillers, their settings and the ``X_icc`` / ``X_vanilla`` teachers to the host.

    Idempotent; a name the host already has is never overwritten. Says once, on standard error, which host there is and
    what it added to it, unless ``verbose`` is False.
    """
    if verbose:
        for line in news():
            print(line, file=sys.stderr)
    return _register()


def news() -> list[str]:
    """Which host there is and what was added to it, for whoever asks first; of several processes, for the first."""
    global _told
    told, _told = _told, True
    registered = _register()
    return [] if told or os.environ.get("RANK", "0") != "0" else [str(registered.host), str(registered)]


_told = False


def settings(host: Host) -> dict[str, Settings]:
    """Every setting that a host's configuration has: those of every run, and each method's own.

    What is known of mdistiller's methods holds for a host's own of the same name, where the types agree.
    """
    found = schema.of_every_run()
    for name, method in host.distiller_dict.items():
        if isinstance(method, type) and issubclass(method, Hooks):
            found[name] = method.settings
        elif name in METHODS and name in host.CFG:
            found[name] = suiting(METHODS[name].settings, host.CFG[name])
    return found


def with_weights(entry: Any, file: Path, architecture: str) -> Any:
    """The entry of a model dictionary, in its own form, with a file's weights as the trained ones."""
    if resolve.loads_itself(entry):
        return functools.partial(_from_file, entry, file, architecture)
    return entry[0], str(file)


def _from_file(factory: Any, file: Path, architecture: str, pretrained: bool = False, **arguments: Any) -> nn.Module:
    model = factory(pretrained=False, **arguments)
    if pretrained:
        weights.load(model, file, architecture)
    return model
