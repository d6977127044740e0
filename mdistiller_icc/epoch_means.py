"""Means over an epoch and over all processes, kept on the device and read once at its end."""

from __future__ import annotations

import torch
from torch import Tensor

from mdistiller_icc import ranks

CHUNK = 64
"""Additions that are collected before they are summed at once: adding one number costs as much as adding many."""


class EpochMeans:
    """Weighted means of quantities that live on the device; nothing is read back before ``read``.

    >>> means = EpochMeans()
    >>> means.add("passed", torch.tensor(3), 4)
    >>> means.add("passed", torch.tensor(1), 4)
    >>> means.read()
    {'passed': 0.5}
    """

    def __init__(self) -> None:
        self._added: dict[str, list[tuple[Tensor | float, Tensor | float]]] = {}

    def add(self, name: str, total: Tensor | float, weight: Tensor | float) -> None:
        """Add ``total``, all its entries, to the sum called ``name`` and ``weight`` to what it will be divided by."""
        added = self._added.setdefault(name, [])
        added.append((_detached(total), _detached(weight)))
        if len(added) == CHUNK:
            added[:] = [_summed(added)]

    def read(self) -> dict[str, float]:
        """The means since the last reading, 0 where nothing had any weight."""
        every = ranks.of_all({name: [*map(float, _summed(added))] for name, added in self._added.items()})
        self._added = {}
        names = dict.fromkeys(name for own in every for name in own)  # a process may have had nothing to add
        held = {name: [own[name] for own in every if name in own] for name in names}
        sums = {name: map(sum, zip(*added, strict=True)) for name, added in held.items()}
        return {name: total / weight if weight else 0.0 for name, (total, weight) in sums.items()}


def _detached(value: Tensor | float) -> Tensor | float:
    return value.detach() if isinstance(value, Tensor) else value


def _summed(added: list[tuple[Tensor | float, Tensor | float]]) -> tuple[Tensor | float, Tensor | float]:
    totals, weights = zip(*added, strict=True)
    return _sum(totals), _sum(weights)


def _sum(parts: tuple[Tensor | float, ...]) -> Tensor | float:
    tensors = [part.flatten() for part in parts if isinstance(part, Tensor)]
    numbers = sum(float(part) for part in parts if not isinstance(part, Tensor))
    return torch.cat(tensors).sum() + numbers if tensors else numbers
