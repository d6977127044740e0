"""The data sets there are: whatever the files of this folder define."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import sys
from dataclasses import replace
from typing import Any

from mdistiller_icc.errors import UserError, nearest

from .dataset import DataSet


@functools.cache
def data_sets() -> dict[str, DataSet]:
    """Every `DataSet` that a file of this folder defines, by its name, in the order of the files' names."""
    here = __name__.rpartition(".")[0]
    files = [name for _, name, _ in pkgutil.iter_modules(sys.modules[here].__path__)]
    modules = [importlib.import_module(f"{here}.{name}") for name in files]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, DataSet)]
    return {one.name: one for one in found}


def data_set(name: str, key: str = "DATASET.TYPE") -> DataSet:
    """The data set that the setting ``key`` names.

    >>> data_set("cifar100").image_size
    32

    Raises:
        UserError: there is none of that name.
    """
    known = data_sets()
    if name not in known:
        raise UserError(f"{key}: unknown '{name}'{nearest(name, known)}; known: {', '.join(known)}")
    return known[name]


def described(cfg: Any) -> DataSet:
    """The data set of a run, with the size, mean and deviation that it asks for.

    Args:
        cfg: reads ``DATASET.TYPE``, ``IMAGE_SIZE``, ``MEAN`` and ``STD``.

    Raises:
        UserError: there is none of that name.
    """
    node = cfg.DATASET  # of a host that lacks our settings, too
    one = data_set(node.TYPE).at(node.get("IMAGE_SIZE"))
    mean, std = (tuple(node.get(key) or ()) or own for key, own in (("MEAN", one.mean), ("STD", one.std)))
    return one if (mean, std) == (one.mean, one.std) else replace(one, mean=mean, std=std)
