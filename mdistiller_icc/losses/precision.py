"""One rule of precision for every loss: half types are computed in float32, autocast or not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, ParamSpec, TypeVar, overload

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")

HALF_TYPES = (torch.float16, torch.bfloat16)


@overload
def widened(value: Tensor) -> Tensor: ...
@overload
def widened(value: Any) -> Any: ...
def widened(value: Any) -> Any:
    """Return ``value`` with every half-precision tensor in it as float32; float64 stays float64."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in HALF_TYPES else value
    if isinstance(value, (list, tuple)):
        return [widened(item) for item in value]
    return value


def full_precision(loss: Callable[P, R]) -> Callable[P, R]:
    """Make ``loss`` compute in float32 (or float64, if given that) even inside an autocast region.

    Autocast would run a loss's matrix products in half precision whatever the type of its inputs, so
    casting the inputs alone is not enough.
    """

    @functools.wraps(loss)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        tensors = list(_tensors([*args, *kwargs.values()]))
        if not tensors:
            return loss(*args, **kwargs)
        device = tensors[0].device.type
        # Entering a region costs as much as a small loss.
        region = torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
        with region:
            return loss(*widened(args), **{name: widened(value) for name, value in kwargs.items()})

    return wrapped


def _tensors(values: Any) -> Any:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
