"""The loaders of a run: order, labels and randomness, wherever the images come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mdistiller_icc import ranks

from .contrast import ContrastiveSampler
from .randomness import Stream, generator, mix

Views = tuple[Tensor, ...]
"""Of one image or of a batch: the weak view and, where there is one, the strong one."""


class Pixels(Protocol):
    """Where the images of a loader come from, augmented if it is a training loader's."""

    def stream(self, order: Tensor, batches: Sequence[Tensor], numbers: torch.Generator) -> Iterator[Views]:
        """The images of a pass, uint8 (B, 3, H, W) on the device, batch by batch: the weak view, then any strong one.

        Args:
            order: (N,) images.
            batches: positions (B,) in it; others are other processes'.
            numbers: gives every image of ``order`` its random numbers, whoever takes it.
        """

    def take(self, index: Tensor, numbers: torch.Generator, rows: slice) -> Tensor:
        """Of the images ``index`` (V,) these ``rows`` at once, uint8 (V, 3, H, W) on the device; random likewise."""


class Normalize:
    """Turns uint8 images (B, 3, H, W) into float32 ones of zero mean and unit deviation, a new tensor each time.

    Args:
        mean: of each channel, for values in [0, 1].
        std: likewise.
        memory_format: of the result.
    """

    def __init__(
        self,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self._mean = torch.tensor(mean, device=device) * 255.0
        self._scale = 1.0 / (torch.tensor(std, device=device) * 255.0)
        self._channels_last = memory_format == torch.channels_last
        self._row = self._mean[:0], self._scale[:0]  # both, repeated for every pixel of a row

    def __call__(self, image: Tensor) -> Tensor:
        """Images (B, C, H, W) of bytes as float32, normalised and in the wanted layout."""
        if not self._channels_last:
            mean, scale = self._mean.view(1, -1, 1, 1), self._scale.view(1, -1, 1, 1)
            return image.to(torch.float32, memory_format=torch.contiguous_format).sub_(mean).mul_(scale)
        # A whole row of pixels is the innermost dimension here: three channels are too few for vector instructions.
        pixels = image.permute(0, 2, 3, 1).contiguous()
        width = pixels.shape[2]
        if len(self._row[0]) != 3 * width:
            self._row = self._mean.repeat(width), self._scale.repeat(width)
        mean, scale = self._row
        rows = pixels.flatten(2).to(torch.float32).sub_(mean).mul_(scale)
        return rows.view(pixels.shape).permute(0, 3, 1, 2)


class _Loader:
    def __init__(self, pixels: Pixels, labels: np.ndarray, normalize: Normalize, batch_size: int, device: torch.device):
        self.batch_size, self.num_data = batch_size, len(labels)
        self._pixels, self._normalize, self._device = pixels, normalize, device
        self._labels = torch.from_numpy(labels).to(device)

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def sizes(self) -> list[int]:
        """How many images each batch has, of all processes."""
        return batch_sizes(self.num_data, self.batch_size)


def batch_sizes(count: int, batch_size: int) -> list[int]:
    """How many of ``count`` images each batch has; a last one of a single image joins the batch before it.

    A batch norm over one value a channel has nothing to normalise by, and relations between images need two.

    >>> batch_sizes(10, 4), batch_sizes(9, 4)
    ([4, 4, 2], [4, 5])
    """
    whole, rest = divmod(count, batch_size)
    if rest == 1 and whole:
        return [batch_size] * (whole - 1) + [batch_size + 1]
    return [batch_size] * whole + [rest] * (rest > 0)


class TrainLoader(_Loader):
    """Augmented batches ``(image, target, index)`` in random order; the last one's size is as `batch_sizes` has it.

    With ``contrast`` there is a ``contrastive_index`` (B, K + 1) after them; with strong views ``(image, target, index,
    contrastive_index or None, strong)``.

    Of several processes each has its `ranks.share` of the very batches that one would have.

    All randomness comes from (seed, epoch): say `set_epoch` before each pass; without it a pass repeats the last.

    Args:
        pixels: of the training images.
        labels: int64 (N,).
        batch_size: images per batch, of all processes.
        seed: of the run.
        contrast: makes CRD's ``contrastive_index``.
    """

    def __init__(
        self,
        pixels: Pixels,
        labels: np.ndarray,
        normalize: Normalize,
        batch_size: int,
        device: torch.device,
        seed: int,
        contrast: ContrastiveSampler | None = None,
    ) -> None:
        super().__init__(pixels, labels, normalize, batch_size, device)
        self._seed, self._contrast = seed, contrast
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose random numbers the next pass and `views` use."""
        self._epoch = epoch
        self._view_numbers = generator(self._seed, epoch, Stream.VIEWS)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        numbers = generator(self._seed, self._epoch, Stream.BATCHES)
        order = torch.randperm(self.num_data, generator=numbers)
        if self._contrast is not None:
            self._contrast.set_seed(mix(self._seed, self._epoch, Stream.NEGATIVES))
        batches = torch.arange(self.num_data).split(self.sizes)
        own = [ranks.share(len(batch)) for batch in batches]
        passed = self._pixels.stream(order, [batch[rows] for batch, rows in zip(batches, own, strict=True)], numbers)
        indices = order.to(self._device).split([len(batch) for batch in batches])
        for (image, *strong), whole, rows in zip(passed, indices, own, strict=True):
            index = whole[rows]
            batch = self._normalize(image), self._labels[index], index
            contrast = None if self._contrast is None else self._contrast(whole)[rows]
            if strong:
                yield *batch, contrast, *map(self._normalize, strong)
            else:
                yield batch if contrast is None else (*batch, contrast)

    def relabel(self, labels: Tensor) -> None:
        """Replace the labels (N,)."""
        self._labels = labels

    def views(self, index: Tensor, rows: slice = slice(None)) -> Tensor:
        """Fresh augmented views (V, 3, H, W) of the training images ``index`` (V,); batches stay what they were.

        Of ``rows`` of them alone, but the same views, where other processes take the others.
        """
        return self._normalize(self._pixels.take(index, self._view_numbers, rows))


class TestLoader(_Loader):
    """Batches ``(image, target)`` in the data set's order, normalised and otherwise as they are.

    Of several processes each has its `ranks.share` of the images, and none has one that another has.
    """

    __test__ = False

    def set_epoch(self, epoch: int) -> None:
        """Nothing is random here; every loader is driven alike."""

    def __len__(self) -> int:
        return len(self._batches())

    def _batches(self) -> list[Tensor]:
        own = torch.arange(self.num_data)[ranks.share(self.num_data)]
        return [*own.split(batch_sizes(len(own), self.batch_size))] if len(own) else []

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order, batches = torch.arange(self.num_data), self._batches()
        for (image,), rows in zip(self._pixels.stream(order, batches, torch.Generator()), batches, strict=True):
            yield self._normalize(image), self._labels[rows[0] : rows[-1] + 1]


@dataclass(frozen=True)
class Loaded:
    """What a run is given of its data set.

    Attributes:
        name: as ``DATASET.TYPE`` has it.
        classes: names in label order.
        image_size: height and width of a batch's images.
        train: loader of ``(image, target, index)`` and of what else the run wants; see `TrainLoader`.
        test: loader of ``(image, target)``.
        holdout: like ``test``, of the training images set aside for selection; None without.
        num_data: number of training images, which ``index`` counts.
        augmentation: in words, ``crop+flip``.
        strong: the strong view that training batches have beside the weak one; None for one view.
        unlabelled: the training images in the order of their index, not augmented, where they are another data set's
            and `transfer.label` has to give them labels before they are trained on; else None.
        loader: which kind is in use, ``resident`` or ``workers``.
        mean: what is taken from each channel, for values in [0, 1].
        std: what it is divided by.
        tree: a digest that tells whose images they are, where the data set is anybody's; else None.
    """

    name: str
    classes: tuple[str, ...]
    image_size: int
    train: TrainLoader
    test: TestLoader
    holdout: TestLoader | None
    num_data: int
    augmentation: str
    strong: str | None
    unlabelled: TestLoader | None
    loader: str
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    tree: str | None = None

    @property
    def num_classes(self) -> int:
        """How many classes the labels tell apart."""
        return len(self.classes)
