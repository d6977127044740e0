"""Sums kept on the device during an epoch and read once at its end."""

from __future__ import annotations

import torch
from torch import Tensor


class EpochMeans:
    """Weighted means of quantities that live on the device; nothing is read back before ``read``.

    >>> means = EpochMeans()
    >>> means.add("passed", torch.tensor(3), 4)
    >>> means.add("passed", torch.tensor(1), 4)
    >>> means.read()
    {'passed': 0.5}
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, Tensor | float]] = {}

    @torch.no_grad()
    def add(self, name: str, total: Tensor, weight: Tensor | float) -> None:
        """Add ``total`` to the sum called ``name`` and ``weight`` to what it will be divided by."""
        before, weights = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = (before + total.detach(), weights + weight)

    def read(self) -> dict[str, float]:
        """The means since the last reading, 0 where nothing had any weight."""
        means = {
            name: float(total) / float(weight) if float(weight) else 0.0 for name, (total, weight) in self._sums.items()
        }
        self._sums = {}
        return means
