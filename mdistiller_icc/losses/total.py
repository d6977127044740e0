"""The sum of the losses that a method has at several stages."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor


def total(losses: Iterable[Tensor]) -> Tensor:
    """Add up scalars, in their order; there is at least one.

    The same as ``sum``, which begins with the number 0 and so promises no tensor.

    Raises:
        ValueError: there is none.
    """
    first, *others = losses
    return sum(others, first)
