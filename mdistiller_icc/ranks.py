"""The processes that train one model together; where there is one process, it is the first of one.

Every process is called a rank, as torch calls it. A rank has its share of each batch, and all ranks call each of the
functions here that talk, in the same order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if world() > 1 else 0


def is_first() -> bool:
    """Whether this is the process that writes files and talks to people."""
    return rank() == 0


def share(count: int) -> slice:
    """This rank's rows of ``count``: neighbours, in the order of the ranks; the first ranks have one more, if any have.

    >>> share(5)
    slice(0, 5, None)
    """
    each, more = divmod(count, world())
    begin = rank() * each + min(rank(), more)
    return slice(begin, begin + each + (rank() < more))


@torch.no_grad()
def summed(tensor: Tensor) -> Tensor:
    """The sum of all ranks' tensors of this shape, which stay as they are."""
    if world() == 1:
        return tensor
    total = tensor.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def of_first(value: T) -> T:
    """The first rank's ``value``, on every rank."""
    if world() == 1:
        return value
    held = [value if is_first() else None]
    dist.broadcast_object_list(held)
    return cast(T, held[0])


def from_first(make: Callable[[], T]) -> T:
    """What ``make`` returns on the first rank, which alone calls it, on every rank; or what it raises."""
    made: T | None = None
    error: Exception | None = None
    if is_first():
        try:
            made = make()
        except Exception as raised:
            error = raised
    if world() > 1:
        made, error = of_first((made, error))
    if error is not None:
        raise error
    return cast(T, made)


def of_all(value: T) -> list[T]:
    """Every rank's ``value``, in their order."""
    if world() == 1:
        return [value]
    values: list[T | None] = [None] * world()
    dist.all_gather_object(values, value)
    return cast("list[T]", values)


def first_alone(function: Callable[P, None]) -> Callable[P, None]:
    """Make ``function``, which writes files, do nothing on other ranks than the first."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        if is_first():
            function(*args, **kwargs)

    return wrapped
