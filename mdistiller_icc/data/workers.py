"""Images that worker processes decode and augment one by one, with torchvision's v2 transforms."""

from __future__ import annotations

import itertools
import signal
import sys
import weakref
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as IndexedDataset

from mdistiller_icc.errors import UserError

from .augment import Augmentation
from .images import open_rgb
from .loaders import Views
from .source import Files

# torchvision's transforms take a second to import, which resident images need not spend.
if TYPE_CHECKING:
    from torchvision.transforms import v2

Key = tuple[int, int]
"""A sample's row and the seed of its augmentation."""


def training_transform(augmentation: Augmentation, size: int) -> v2.Transform:
    """The augmentation of one training image, PIL or uint8 tensor, to uint8 (3, size, size)."""
    from torchvision.transforms import v2

    steps: list[v2.Transform] = []
    if augmentation.resized_crop:
        steps.append(v2.RandomResizedCrop(size, antialias=True))
    if augmentation.degrees:
        steps.append(v2.RandomRotation(augmentation.degrees))
    if augmentation.padding:
        steps.append(v2.RandomCrop(size, padding=augmentation.padding))
    if augmentation.flip:
        steps.append(v2.RandomHorizontalFlip())
    return v2.Compose([*steps, v2.ToImage()])


def evaluation_transform(resize: int | None, size: int) -> v2.Transform:
    """What a test image undergoes: its shorter side is brought to ``resize`` and its centre cut out, if at all."""
    from torchvision.transforms import v2

    if resize is None:
        return v2.ToImage()
    return v2.Compose([v2.Resize(resize, antialias=True), v2.CenterCrop(size), v2.ToImage()])


WARM = 2
"""How many keep their processes while they wait: a run's training and test images."""
_warm: list[weakref.ref[WorkerPixels]] = []


class WorkerPixels:
    """Some images of a split, decoded as they are asked for.

    Args:
        images: uint8 (N, 3, H, W), or files.
        rows: which of them belong, in the order of their index.
        transforms: each makes a view of an image, uint8 (3, H, W); the later ones go on with the earlier ones' numbers.
        num_workers: processes; 0 decodes in this one.
    """

    def __init__(
        self,
        images: np.ndarray | Files,
        rows: np.ndarray,
        transforms: Sequence[v2.Transform],
        num_workers: int,
        device: torch.device,
    ) -> None:
        self._rows, self._device, self._num_workers = rows, device, num_workers
        self._samples = _Samples(images, transforms)
        self._batches = _Batches()
        self._loader: DataLoader[Views | UserError] | None = None

    def stream(self, order: Tensor, batches: Sequence[Tensor], numbers: torch.Generator) -> Iterator[Views]:
        if not batches:
            return
        keys = iter(self._keys(order, numbers, torch.cat([*batches])))
        self._batches.keys = [list(itertools.islice(keys, len(batch))) for batch in batches]
        for views in self._processes():
            if isinstance(views, UserError):
                raise views
            yield tuple(image.to(self._device, non_blocking=True) for image in views)

    def _processes(self) -> DataLoader[Views | UserError]:
        """The processes that decode, kept from pass to pass; those of whoever was not asked lately end."""
        if self._loader is None:
            self._loader = DataLoader(
                self._samples,
                batch_sampler=self._batches,
                collate_fn=_collate,
                num_workers=self._num_workers,
                persistent_workers=self._num_workers > 0,
                worker_init_fn=_settle,
                pin_memory=self._device.type == "cuda",
                # Its own generator, or every pass would take a number from the run's global one.
                generator=torch.Generator(),
            )
        _warm[:] = [other for other in _warm if other() not in (None, self)] + [weakref.ref(self)]
        for other in _warm[:-WARM]:
            if (idle := other()) is not None:
                idle._loader = None  # a pass that is under way holds on to its processes
        del _warm[:-WARM]
        return self._loader

    def take(self, index: Tensor, numbers: torch.Generator, rows: slice) -> Tensor:
        keys = self._keys(index.cpu(), numbers, slice(None))
        own = keys[rows]  # where there are none, an image tells their shape
        return torch.stack([self._samples.make(key)[0] for key in own or keys[:1]])[: len(own)].to(self._device)

    def _keys(self, index: Tensor, numbers: torch.Generator, rows: slice | Tensor) -> list[Key]:
        seeds = torch.randint(2**62, (len(index),), generator=numbers)[rows]
        return list(zip(self._rows[index[rows].numpy()].tolist(), seeds.tolist(), strict=True))


class _Samples(IndexedDataset[Views | UserError]):
    """A sample depends on its key alone, not on the process that makes it.

    An image that cannot be read is handed on as its error: one that is raised in a worker arrives with a traceback.
    """

    def __init__(self, images: np.ndarray | Files, transforms: Sequence[v2.Transform]) -> None:
        self.images, self.transforms = images, transforms

    def __getitem__(self, key: Key) -> Views | UserError:
        try:
            return self.make(key)
        except UserError as error:
            return error

    def make(self, key: Key) -> Views:
        row, seed = key
        found = self.images[row]
        image = open_rgb(found) if isinstance(self.images, Files) else torch.from_numpy(np.array(found))
        # torchvision draws from torch's global generator, which without workers is the run's own.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return tuple(transform(image).as_subclass(Tensor) for transform in self.transforms)


def _settle(number: int) -> None:
    """Leave Ctrl-C to the process that is decoded for, which ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _unless_nobody_reads


def _unless_nobody_reads(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Show an error, as Python does, but not that images found nobody to take them."""
    if not isinstance(error, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, traceback)


def _collate(samples: list[Views | UserError]) -> Views | UserError:
    for sample in samples:
        if isinstance(sample, UserError):
            return sample
    return tuple(map(default_collate, zip(*samples, strict=True)))


class _Batches:
    """The keys of one pass, batch by batch, as a DataLoader wants them."""

    keys: list[list[Key]]

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.keys)
