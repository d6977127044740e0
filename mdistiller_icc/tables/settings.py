"""Protocols and method settings as values that can be compared, told apart and put into words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import itemgetter
from typing import Any

Settings = tuple[tuple[str, Any], ...]
"""A flattened, sorted and hashable dictionary: ``(("QUEUE.SIZE", 8), ("WEIGHT", 0.02))``."""

MISSING = "not recorded"


def freeze(tree: dict[str, Any]) -> Settings:
    """Flatten nested settings into a hashable value; equal settings give equal values.

    >>> freeze({"WEIGHT": 0.02, "QUEUE": {"SIZE": 8}})
    (('QUEUE.SIZE', 8), ('WEIGHT', 0.02))
    """
    leaves: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves += [(f"{key}.{below}", leaf) for below, leaf in freeze(value)]
        else:
            leaves.append((key, _hashable(value)))
    leaves.sort(key=itemgetter(0))
    return tuple(leaves)


def varied(many: Iterable[Settings]) -> list[str]:
    """The keys that do not have one and the same value in all of the settings, sorted."""
    tables = [dict(settings) for settings in dict.fromkeys(many)]
    keys = sorted({key for table in tables for key in table})
    return [key for key in keys if len({table.get(key, MISSING) for table in tables}) > 1]


def spell(settings: Settings, keys: Iterable[str]) -> str:
    """Those settings in words.

    >>> spell((("T", 4.0), ("WEIGHT", 0.5)), ["WEIGHT"])
    'WEIGHT 0.5'
    """
    table = dict(settings)
    return ", ".join(f"{key} {number(table.get(key, MISSING))}" for key in keys)


def number(value: Any) -> str:
    """A setting's value as text: ``0.0005``, ``150, 180, 210``, ``SGD``."""
    if isinstance(value, tuple):
        return ", ".join(map(number, value))
    return str(value)


def describe(protocol: Settings, keys: Iterable[str] | None = None) -> str:
    """A protocol in one line, or only what it says about ``keys``.

    >>> describe(freeze({"epochs": 240, "lr": 0.05, "precision": "fp32"}))
    '240 epochs, lr 0.05, fp32'
    """
    table = dict(protocol)
    usual = {("fraction", 1), ("holdout", 0), ("schedule", "step"), ("views", 1)}
    wanted = {key for key, value in protocol if (key, value) not in usual} if keys is None else set(keys)
    if table.get("schedule", "step") != "step":
        wanted -= {"lr_decay_stages", "lr_decay_rate"}  # another schedule has none
    elif "lr_decay_stages" in wanted:
        wanted -= {"schedule", "lr_decay_rate"}  # said with the stages
    if "views" in wanted:
        wanted -= {"strong_view"}  # said with the views
    ordered = [key for key in _ORDER if key in wanted] + sorted(wanted.difference(_ORDER))
    return ", ".join(_phrase(key, table) for key in ordered)


_ORDER = (
    *("epochs", "batch_size", "optimizer", "lr", "momentum", "weight_decay", "schedule", "lr_decay_stages"),
    *("lr_decay_rate", "augmentation", "views", "precision", "fraction", "holdout"),
)

_SWITCHES = {"compile": "compiled", "upstream": "with mdistiller's own behaviour (COMPAT.UPSTREAM)"}
"""What a record names only where it is on."""

_AROUND = {
    "epochs": ("", " epochs"),
    "batch_size": ("batch ", ""),
    "optimizer": ("", ""),
    "schedule": ("", " schedule"),
    "augmentation": ("", ""),
    "precision": ("", ""),
}
"""What is said before and after a value; by default its key."""


def _phrase(key: str, table: dict[str, Any]) -> str:
    words = key.replace("_", " ")
    if key not in table:
        return f"not {_SWITCHES[key]}" if key in _SWITCHES else f"{words} {MISSING}"
    value = table[key]
    if value is True and key in _SWITCHES:
        return _SWITCHES[key]
    if key == "lr_decay_stages":
        return f"×{table.get('lr_decay_rate', '?')} after {number(value)}"
    if key == "views":
        return "one view" if value == 1 else f"weak and strong view ({table.get('strong_view', '?')})"
    if key == "start":
        return f"from weights {str(value).removeprefix('sha256:')[:8]}"
    if key in ("fraction", "holdout") and isinstance(value, (int, float)):
        return f"{100 * value:g} % of the training images{' held out' * (key == 'holdout')}"
    before, after = _AROUND.get(key, (f"{words} ", ""))
    return f"{before}{number(value)}{after}"


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return freeze(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # which equals itself, and has a place in JSON
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
