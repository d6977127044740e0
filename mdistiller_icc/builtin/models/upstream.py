"""The one switch that brings mdistiller's old behaviour back into a network (``COMPAT.UPSTREAM``).

A factory whose network differs from mdistiller's in a number takes the keyword ``upstream``; the others compute
what mdistiller computes wherever that runs at all, and take none.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn


def has_upstream(factory: Callable[..., nn.Module]) -> bool:
    """Whether the factory knows an old behaviour: it takes the keyword ``upstream``."""
    return "upstream" in inspect.signature(factory).parameters


def build(factory: Callable[..., nn.Module], *, upstream: bool, **arguments: Any) -> nn.Module:
    """Call a registry's factory, with mdistiller's old behaviour where it is asked for and there is one.

    >>> from mdistiller_icc.builtin.models import cifar_model_dict
    >>> factory, checkpoint = cifar_model_dict["wrn_16_2"]
    >>> build(factory, upstream=True, num_classes=100).upstream
    True
    """
    if upstream and has_upstream(factory):
        arguments["upstream"] = True
    return factory(**arguments)
