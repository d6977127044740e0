"""Data sets and loaders of torch's own kind, as a run takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    Subset,
    TensorDataset,
    default_collate,
)
from torch.utils.data import Dataset as TorchDataset

from mdistiller_icc import ranks
from mdistiller_icc.errors import UserError, shown

from .augment import Augmentation
from .catalogue import data_sets
from .dataset import SMALL, DataSet
from .loaders import Loaded, batch_sizes

Data = TorchDataset[Any] | DataLoader[Any]
LOOKED_AT = 16
"""How many samples of a split are looked at before anything is trained."""
OF_YOURS = {
    "FRACTION": (1.0, "take a torch Subset of it"),
    "HOLDOUT": (0.0, "take a torch Subset of it"),
    "IMAGES": ("", "give those images"),
    "IMAGE_SIZE": (None, "a transform of yours does it"),
    "MEAN": (None, "a transform of yours does it"),
    "STD": (None, "a transform of yours does it"),
    "LOADER": ("auto", "a DataLoader of yours says how it is read"),
}
"""Settings of ``DATASET`` that say nothing of such images, with their defaults and what does instead."""


class Numbered(TorchDataset[Any]):
    """A data set of ``(image, label)`` whose samples are ``(image, label, index)``."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, Any, int]:
        image, label = self.samples[index]
        return image, label, index


class Shuffled:
    """The numbers of a pass's images in random order, batch by batch; sizes as `batch_sizes` has them."""

    def __init__(self, count: int, batch_size: int) -> None:
        self.sizes = batch_sizes(count, batch_size)

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in torch.randperm(sum(self.sizes)).split(self.sizes):
            yield batch.tolist()


class Batches:
    """What a run asks of a loader, answered by torch's; see `Loaded`.

    Args:
        loader: yields ``(image, target)`` or, for training, ``(image, target, index)``.
        memory_format: of the batches' images.
    """

    def __init__(self, loader: DataLoader[Any], memory_format: torch.memory_format) -> None:
        self.loader, self.memory_format = loader, memory_format
        self.num_data, self.batch_size = len(cast(Sized, loader.dataset)), loader.batch_size

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for image, target, *index in self.loader:
            yield image.float().contiguous(memory_format=self.memory_format), target.long(), *index

    @property
    def sizes(self) -> list[int]:
        """How many images each batch has."""
        sampler = self.loader.batch_sampler
        if isinstance(sampler, Shuffled):
            return sampler.sizes
        assert isinstance(sampler, BatchSampler)
        whole, rest = divmod(len(cast(Sized, sampler.sampler)), sampler.batch_size)
        return [sampler.batch_size] * whole + [rest] * (rest > 0 and not sampler.drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Tell the epoch to a sampler that wants to know it."""
        if isinstance(self.loader.sampler, DistributedSampler):
            self.loader.sampler.set_epoch(epoch)

    def views(self, index: Tensor, rows: slice = slice(None)) -> Tensor:
        """The images ``index`` (V,) as the data set gives them now, (V, 3, H, W); of ``rows`` of them alone."""
        return torch.stack([self.loader.dataset[i][0] for i in index[rows].tolist()]).float().to(index.device)


@dataclass(frozen=True)
class TorchData:
    """Training and test images of one's own: data sets of ``(image, label)``, or loaders of such.

    They are taken as they are: images (3, H, H) as float tensors, augmented and normalised. A loader keeps its batch
    size, sampler and workers; a data set is shuffled into batches of ``SOLVER.BATCH_SIZE``.

    Attributes:
        name: as ``DATASET.TYPE``, the teacher store and records have it; by default after the class of ``train``.
        classes: their names in label order; by default those that ``train`` has, as torchvision's data sets do, or the
            numbers of its labels.
    """

    train: Data
    test: Data
    name: str = ""
    classes: Sequence[str] = ()


def add(data: TorchData) -> str:
    """Make a ``DATASET.TYPE`` stand for images of somebody's own, in this process, and return it.

    Raises:
        UserError: they are not as `TorchData` says, or the name is another data set's.
    """
    train, test = data.train, data.test
    name = data.name or f"own_{type(_set_of(train)).__name__.lower()}"
    if name in data_sets() and data_sets()[name].loaded is None:
        raise UserError(f"'{name}' is a data set of its own already; choose another name for yours")
    splits = [_look(f"{name}: {which}", _set_of(split)) for which, split in (("train", train), ("test", test))]
    classes = tuple(data.classes) or _classes(_set_of(train))
    for split in splits:
        for label in split.bounds:
            if not 0 <= label < len(classes):
                raise UserError(f"{split.name}: a label {label}, and {len(classes)} classes, 0 to {len(classes) - 1}")
    if isinstance(test, DataLoader) and test.drop_last and len(cast(Sized, test.dataset)) % (test.batch_size or 1):
        raise UserError(f"{name}: the test loader leaves images out; give it drop_last=False")
    size = splits[1].image_size
    digest = hashlib.sha256(str((classes, [split.content for split in splits])).encode()).hexdigest()[:8]

    def loaded(cfg: Any, seed: int, device: torch.device, memory_format: torch.memory_format) -> Loaded:
        if ranks.world() > 1:
            raise UserError(f"{name}: images that are given as torch objects train in one process")
        for key, (default, instead) in OF_YOURS.items():
            if (value := cfg.DATASET[key]) != default and (key, value) != ("IMAGE_SIZE", size):
                raise UserError(f"DATASET.{key} {value}: {name} is given as it is; {instead}")
        training = Batches(_training(train, cfg, device), memory_format)
        return Loaded(
            name=name,
            classes=classes,
            image_size=size,
            train=cast(Any, training),
            test=cast(Any, Batches(_testing(test, cfg, device), memory_format)),
            holdout=None,
            num_data=training.num_data,
            augmentation="its own",
            strong=None,
            unlabelled=None,
            loader="torch",
            tree=digest,
        )

    data_sets()[name] = DataSet(
        name=name,
        num_classes=len(classes),
        image_size=size,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        augmentation=Augmentation(),
        read=_unread,
        models="cifar_model_dict" if size <= SMALL else "imagenet_model_dict",
        known_to="us",
        loaded=loaded,
    )
    return name


def _unread(_root: Any) -> Any:
    raise UserError("a data set that was given as torch objects cannot be read from files")


def _set_of(data: Data) -> Any:
    return data.dataset if isinstance(data, DataLoader) else data


class Split(NamedTuple):
    """What is seen of training or test images before anything is trained.

    Attributes:
        name: of the data set and the split.
        bounds: the lowest and the highest of the labels; of all where they lie in a tensor.
        content: plain values by which these images are known again.
    """

    name: str
    image_size: int
    bounds: tuple[int, int]
    content: Any


def _look(name: str, samples: Any) -> Split:
    """Look at some samples of a split, twice, since what is augmented cannot be known again by its pixels.

    Raises:
        UserError: they are not as `TorchData` says.
    """
    if isinstance(samples, IterableDataset):
        raise UserError(f"{name}: wanted a data set whose images have numbers, not an IterableDataset")
    if not len(samples):
        raise UserError(f"{name}: has no images")
    rows = np.linspace(0, len(samples) - 1, min(LOOKED_AT, len(samples)), dtype=int).tolist()
    seen = [_sample(f"{name}, image {row}", samples[row]) for row in rows]
    if len(sizes := {image.shape[1] for image, _ in seen}) > 1:
        raise UserError(f"{name}: images of {min(sizes)} and {max(sizes)} pixels; a transform makes them alike")
    labels = [label for _, label in seen]
    told = _labels(samples)
    if isinstance(_bottom(samples), TensorDataset):
        labels = told
    parts = [_parts(image) for image, _ in seen]
    fixed = parts == [_parts(samples[row][0]) for row in rows]
    content = len(samples), [label for _, label in seen], told, parts if fixed else None
    return Split(name, sizes.pop(), (min(labels), max(labels)), content)


def _sample(where: str, sample: Any) -> tuple[Tensor, int]:
    """An image and its label, if they are ones."""
    image, *labels = sample if isinstance(sample, (tuple, list)) else (sample,)
    if not isinstance(image, Tensor) or image.dim() != 3 or len(image) != 3 or image.shape[1] != image.shape[2]:
        raise UserError(f"{where}: wanted a tensor (3, H, H), got {_kind(image)}; a transform makes one")
    if image.device.type != "cpu":
        raise UserError(f"{where}: is on {image.device}; wanted images in main memory, from where batches are copied")
    if not image.is_floating_point():
        raise UserError(f"{where}: wanted floats, got {image.dtype}; torchvision's v2.ToDtype makes them, scale=True")
    match labels:
        case [Integral() as label]:
            return image, int(label)
        case [Tensor() as label] if not label.dim() and not label.is_floating_point():
            return image, int(label)
    got = ", ".join(map(_kind, labels)) or "none"
    raise UserError(f"{where}: wanted one whole number as its label, got {got}")


def _kind(value: Any) -> str:
    return f"{tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else shown(value)


def _parts(image: Tensor) -> list[int]:
    """The mean of each channel in the quarters of an image, in hundredths: the same wherever it was decoded."""
    return F.adaptive_avg_pool2d(image.float(), 2).mul(100).round().long().flatten().tolist()


def _labels(samples: Any) -> list[Any]:
    """All labels, where a data set has them without its images, as torch's and torchvision's do."""
    if isinstance(samples, Subset):
        of_all = _labels(samples.dataset)
        return [of_all[row] for row in samples.indices] if of_all else []
    labels: Any = samples.tensors[1] if isinstance(samples, TensorDataset) else getattr(samples, "targets", [])
    return labels.tolist() if isinstance(labels, (Tensor, np.ndarray)) else list(labels)


def _bottom(samples: Any) -> Any:
    return _bottom(samples.dataset) if isinstance(samples, Subset) else samples


def _classes(samples: Any) -> tuple[str, ...]:
    """What a data set says of its classes, by the attributes that torch's and torchvision's have."""
    samples = _bottom(samples)
    if isinstance(samples, TensorDataset):
        first, last = (int(label) for label in samples.tensors[1].aminmax())
        if first > 0:
            raise UserError(f"labels begin at {first}, not at 0; TorchData(train, test, classes=[…]) says their names")
        return tuple(str(label) for label in range(last + 1))
    if not (names := getattr(samples, "classes", ())):
        raise UserError(f"{type(samples).__name__} does not say its classes: TorchData(train, test, classes=[…]) does")
    return tuple(names)


def _training(data: Data, cfg: Any, device: torch.device) -> DataLoader[Any]:
    if not isinstance(data, DataLoader):
        samples = Numbered(data)
        return _loader(samples, cfg, device, batch_sampler=Shuffled(len(samples), cfg.SOLVER.BATCH_SIZE))
    if not isinstance(data.batch_sampler, BatchSampler) or data.collate_fn is not default_collate:
        raise UserError("the training loader makes batches in a way of its own; give its data set instead")
    return DataLoader(
        Numbered(data.dataset),
        batch_sampler=data.batch_sampler,
        num_workers=data.num_workers,
        pin_memory=data.pin_memory,
        worker_init_fn=data.worker_init_fn,
        persistent_workers=data.num_workers > 0,
    )


def _testing(data: Data, cfg: Any, device: torch.device) -> DataLoader[Any]:
    return data if isinstance(data, DataLoader) else _loader(data, cfg, device, batch_size=cfg.DATASET.TEST.BATCH_SIZE)


def _loader(samples: Any, cfg: Any, device: torch.device, **batches: Any) -> DataLoader[Any]:
    workers, pinned = cfg.DATASET.NUM_WORKERS, device.type == "cuda"
    return DataLoader(samples, num_workers=workers, pin_memory=pinned, persistent_workers=workers > 0, **batches)
