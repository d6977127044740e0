"""A linear warm-up of a distillation weight over the first epochs."""

from __future__ import annotations


def warmup(epoch: int, epochs: int) -> float:
    """The factor at ``epoch`` (counted from 1): rises in equal steps to 1 at ``epochs``; 0 epochs mean none.

    >>> [warmup(epoch, 4) for epoch in (1, 2, 4, 9)]
    [0.25, 0.5, 1.0, 1.0]
    """
    return min(epoch / epochs, 1.0) if epochs > 0 else 1.0
