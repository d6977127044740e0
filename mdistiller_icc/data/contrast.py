"""CRD's contrastive indices: for every anchor its positive and K images of other classes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mdistiller_icc.errors import UserError


class ContrastiveSampler:
    """Draws the contrastive indices of a batch on the labels' device in one vectorised call.

    Source: Tian et al., Contrastive Representation Distillation, 2020, section 3.2 (negatives of other classes). [A]

    Each anchor's negatives are uniform over the images of other classes and, while K of them exist, distinct; with
    fewer, each is taken ⌊K/M⌋ or ⌈K/M⌉ times. Images are kept sorted by class, so those of other classes are the
    M positions outside one block. The anchor visits them in the order (start + stride·j) mod M, with a start uniform
    in [0, M) and a stride that is a random prime above M: coprime to every M, so no position comes twice before all
    have come once. That takes two random numbers per anchor where a shuffle takes M; an anchor's negatives are not
    independent of each other. Every epoch reorders the classes and the images within them.

    Args:
        labels: (N,) class of every training image, classes of any size.
        negatives: K.
        mode: ``exact``, the positive is the anchor itself; ``relax``, a random image of its class.

    Raises:
        UserError: all images are of one class.
    """

    def __init__(self, labels: Tensor, negatives: int, mode: str = "exact") -> None:
        self.labels, self.mode = labels, mode
        self.size = torch.bincount(labels)
        if int(self.size.max()) == len(labels):
            raise UserError("CRD needs images of at least two classes; all training images are of one class")
        # Positions are below N and a product of a stride and a step is below N·K: half the bytes where they fit.
        self.dtype = torch.int32 if len(labels) * (negatives + 1) < 2**31 else torch.int64
        self.steps = torch.arange(negatives, dtype=self.dtype, device=labels.device)
        self.strides = torch.from_numpy(_primes_above(len(labels))).to(labels.device)
        self.generator = torch.Generator(labels.device)

    def set_seed(self, seed: int) -> None:
        """Start an epoch: everything drawn from here on depends on ``seed`` alone."""
        self.generator.manual_seed(seed)
        device = self.labels.device
        class_rank = torch.randperm(len(self.size), generator=self.generator, device=device)
        shuffled = torch.randperm(len(self.labels), generator=self.generator, device=device)
        blocks, order = class_rank[self.labels[shuffled]].sort(stable=True)
        self.order = shuffled[order].to(self.dtype)
        self.block_start = torch.searchsorted(blocks, class_rank)

    def __call__(self, index: Tensor) -> Tensor:
        """Contrastive indices (B, K + 1) of the anchors ``index`` (B,), the positive in column 0."""
        label = self.labels[index]
        size, start = self.size[label], self.block_start[label]
        others = len(self.labels) - size
        choice = torch.randint(len(self.strides), label.shape, generator=self.generator, device=label.device)
        stride = self.strides[choice] % others
        offset = self._below(others)

        column = [value.to(self.dtype).unsqueeze(1) for value in (stride, offset, others, start, size)]
        stride, offset, others, start, size = column
        position = (self.steps * stride).add_(offset).remainder_(others)
        position.add_((position >= start) * size)

        sample = torch.empty(len(index), len(self.steps) + 1, dtype=torch.int64, device=index.device)
        sample[:, 0] = index if self.mode == "exact" else self._same_class(label)
        sample[:, 1:] = self.order.index_select(0, position.flatten()).view_as(position)
        return sample

    def _same_class(self, label: Tensor) -> Tensor:
        return self.order[self.block_start[label] + self._below(self.size[label])].long()

    def _below(self, limit: Tensor) -> Tensor:
        """One integer per entry, uniform in [0, limit)."""
        # 62 random bits: the bias of the remainder is below 2⁻⁴⁰ for any number of images.
        bits = torch.randint(2**62, limit.shape, generator=self.generator, device=limit.device)
        return bits % limit


def _primes_above(count: int) -> np.ndarray:
    """The primes in (count, 8·count + 8], of which there is always at least one."""
    sieve = np.ones(8 * count + 9, dtype=bool)
    sieve[:2] = False
    for number in range(2, int(len(sieve) ** 0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = False
    return np.flatnonzero(sieve[count + 1 :]) + count + 1
