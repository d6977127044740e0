"""Data sets and loaders of torch's own kind, as a run takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, Subset, TensorDataset, default_collate
from torch.utils.data import Dataset as TorchDataset

from mdistiller_icc import ranks
from mdistiller_icc.errors import UserError

from .augment import Augmentation
from .catalogue import data_sets
from .dataset import DataSet
from .loaders import Loaded, batch_sizes

Data = TorchDataset[Any] | DataLoader[Any]


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
        for image, *rest in self.loader:
            yield image.contiguous(memory_format=self.memory_format), *rest

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
        return torch.stack([self.loader.dataset[i][0] for i in index[rows].tolist()]).to(index.device)


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
    classes = tuple(data.classes) or _classes(_set_of(train))
    image = _set_of(test)[0][0]
    if not isinstance(image, Tensor) or image.dim() != 3 or len(image) != 3 or image.shape[1] != image.shape[2]:
        what = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise UserError(f"{name}: wanted images as tensors (3, H, H), got {what}; a transform makes them")

    def loaded(cfg: Any, seed: int, device: torch.device, memory_format: torch.memory_format) -> Loaded:
        if ranks.world() > 1:
            raise UserError(f"{name}: images that are given as torch objects train in one process")
        for key, default in (("FRACTION", 1.0), ("HOLDOUT", 0.0), ("IMAGES", "")):
            if cfg.DATASET[key] != default:
                raise UserError(
                    f"DATASET.{key} {cfg.DATASET[key]}: {name} is given as it is; take a torch Subset of it"
                )
        training = Batches(_training(train, cfg, device), memory_format)
        return Loaded(
            name=name,
            classes=classes,
            image_size=image.shape[1],
            train=cast(Any, training),
            test=cast(Any, Batches(_testing(test, cfg, device), memory_format)),
            holdout=None,
            num_data=training.num_data,
            augmentation="its own",
            strong=None,
            unlabelled=None,
            loader="torch",
        )

    data_sets()[name] = DataSet(
        name=name,
        num_classes=len(classes),
        image_size=image.shape[1],
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        augmentation=Augmentation(),
        read=_unread,
        models="cifar_model_dict",
        known_to="us",
        loaded=loaded,
    )
    return name


def _unread(_root: Any) -> Any:
    raise UserError("a data set that was given as torch objects cannot be read from files")


def _set_of(data: Data) -> Any:
    return data.dataset if isinstance(data, DataLoader) else data


def _classes(samples: Any) -> tuple[str, ...]:
    """What a data set says of its classes, by the attributes that torch's and torchvision's have."""
    if isinstance(samples, Subset):
        return _classes(samples.dataset)
    if isinstance(samples, TensorDataset):
        return tuple(str(label) for label in range(int(samples.tensors[1].max()) + 1))
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
