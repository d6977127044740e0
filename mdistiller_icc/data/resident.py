"""Images that stay on the device as uint8 and are augmented there, batch by batch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from .augment import Augmentation, Draws, apply, draw
from .loaders import Views
from .workers import WorkerPixels

GROUP = 4096
SHARE_OF_FREE_MEMORY = 0.5


class ResidentPixels:
    """Some images of a split, held on the device.

    Args:
        images: uint8 (N, 3, H, W); on a CPU they are used where they lie, memory-mapped or not.
        rows: which of them belong, in the order of their index.
        augmentation: what happens to them at random; ``Augmentation()`` for nothing.
        strong: makes the same images' strong views, on the host; None for one view.
    """

    def __init__(
        self,
        images: np.ndarray,
        rows: np.ndarray,
        augmentation: Augmentation,
        device: torch.device,
        strong: WorkerPixels | None = None,
    ) -> None:
        self._augmentation, self._device, self._strong = augmentation, device, strong
        self._on_cpu = device.type == "cpu"
        self._rows = rows
        self._images = np.asarray(images) if self._on_cpu else torch.from_numpy(images[rows]).to(device)
        self._ahead: tuple[torch.Generator, Draws, int] | None = None

    def stream(self, order: Tensor, batches: Sequence[Tensor], numbers: torch.Generator) -> Iterator[Views]:
        weak = self._weak(order, batches, numbers)
        if self._strong is None:
            yield from zip(weak)
            return
        # The weak views' numbers are drawn first, so that they are those of a pass without strong ones.
        for image, (strong,) in zip(weak, self._strong.stream(order, batches, numbers), strict=True):
            yield image, strong

    def _weak(self, order: Tensor, batches: Sequence[Tensor], numbers: torch.Generator) -> Iterator[Tensor]:
        if not batches:
            return
        own = torch.cat([*batches])
        draws = draw(self._augmentation, len(order), numbers)[own].to(self._device)
        order = order[own].to(self._device)
        # A CPU is quickest while a batch is in its cache; an accelerator when one launch serves many batches.
        many = 1 if self._on_cpu else max(1, GROUP // len(batches[0]))
        begin = 0
        for first in range(0, len(batches), many):
            sizes = [len(batch) for batch in batches[first : first + many]]
            rows = slice(begin, begin + sum(sizes))
            begin = rows.stop
            yield from self._augmented(order[rows], draws[rows]).split(sizes)

    def take(self, index: Tensor, numbers: torch.Generator, rows: slice) -> Tensor:
        return self._augmented(index[rows].to(self._device), self._next_draws(len(index), numbers)[rows])

    def _next_draws(self, count: int, numbers: torch.Generator) -> Draws:
        """Those of the next ``count`` images; many are drawn at once, which costs as much as drawing a few."""
        if self._ahead is None or self._ahead[0] is not numbers or self._ahead[2] + count > len(self._ahead[1]):
            self._ahead = numbers, draw(self._augmentation, max(GROUP, count), numbers).to(self._device), 0
        _, draws, begin = self._ahead
        self._ahead = numbers, draws, begin + count
        return draws[begin : begin + count]

    def _augmented(self, index: Tensor, draws: Draws) -> Tensor:
        if self._on_cpu:
            images = torch.from_numpy(self._images[self._rows[index.numpy()]])
        else:
            images = self._images[index]
        return apply(images, self._augmentation, draws)


def fits(size: int, device: torch.device) -> bool:
    """Whether ``size`` bytes of images take at most half of the device's free memory."""
    return size <= SHARE_OF_FREE_MEMORY * _free_memory(device)


def _free_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            available = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(available.split()[1]) * 1024
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2
