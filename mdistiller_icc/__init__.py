"""Distil better with teachers that keep the differences inside a class: a plugin for mdistiller.

In a notebook, with the trainer that the commands use:

>>> from mdistiller_icc import distill, train_teacher
>>> teacher = train_teacher("resnet20", "digits", epochs=20)  # doctest: +SKIP
>>> student = distill(teacher, "resnet8", "DKD", epochs=20)  # doctest: +SKIP

In a training loop of one's own, `ICCLoss`. For networks that return logits alone, `with_features`. For mdistiller's own
scripts, `register`. All of it is in docs/api.md.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mdistiller_icc.version import __version__

if TYPE_CHECKING:
    from mdistiller_icc.api import TorchData, Trained, distill, train_teacher
    from mdistiller_icc.errors import UserError
    from mdistiller_icc.features import with_features
    from mdistiller_icc.icc.recipe import ICCLoss
    from mdistiller_icc.plugin import register

__all__ = [
    "ICCLoss",
    "TorchData",
    "Trained",
    "UserError",
    "__version__",
    "distill",
    "register",
    "train_teacher",
    "with_features",
]

_PLACES = {
    "ICCLoss": "icc.recipe",
    "TorchData": "data.from_torch",
    "Trained": "api",
    "UserError": "errors",
    "distill": "api",
    "register": "plugin",
    "train_teacher": "api",
    "with_features": "features",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: importing the package does not import torch."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
