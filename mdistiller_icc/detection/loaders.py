"""The batches of a detector's run: which images, in which order, from which random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from yacs.config import CfgNode

from mdistiller_icc import ranks
from mdistiller_icc.data.randomness import Stream, generator, mix
from mdistiller_icc.detection.coco import Coco, Picture, Target, load_image, load_masks
from mdistiller_icc.errors import UserError
from mdistiller_icc.paths import expand

Batch = tuple[list[Tensor], list[Target]]


class TrainLoader:
    """Batches ``(images, targets)``: images (3, H, W) in [0, 1], half of them mirrored, in random order.

    A batch is of images that all stand or all lie, but for a pass's last ones; a rest too small for a batch waits for
    another pass. All randomness comes from (seed, pass over the images, image), so an epoch is the same after an
    interruption, and each of several processes has its `ranks.share` of the very batches of one.

    Args:
        data: its images with objects are trained on.
        batch_size: of all processes.
        steps: of an epoch; 0 for a pass over the images.
        seed: of the run.
        workers: processes that decode images.

    Raises:
        UserError: there are too few images for a batch.
    """

    def __init__(self, data: Coco, batch_size: int, steps: int, seed: int, workers: int) -> None:
        self.pictures = data.with_objects()
        self.num_data, self.batch_size, self.seed, self.workers = len(self.pictures), batch_size, seed, workers
        self.masks, self.epoch = data.masks, 1
        self.of_pass = self.num_data // batch_size
        if not self.of_pass:
            raise UserError(
                f"SOLVER.BATCH_SIZE {batch_size}: {data.file} has {self.num_data} images with objects, too few"
            )
        self.steps = steps or self.of_pass

    def __len__(self) -> int:
        return self.steps

    @property
    def sizes(self) -> list[int]:
        """How many images each batch has, of all processes."""
        return [self.batch_size] * len(self)

    def set_epoch(self, epoch: int) -> None:
        """The next pass of the loader is of this epoch, counted from 1."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        begin = (self.epoch - 1) * self.steps
        keys = [self._keys(step) for step in range(begin, begin + self.steps)]
        items = _Items(self.pictures, self.masks)
        pinned = torch.cuda.is_available()  # so that copying to a GPU does not wait
        for batch in DataLoader(
            items, batch_sampler=keys, num_workers=self.workers, collate_fn=_together, pin_memory=pinned
        ):
            if isinstance(batch, UserError):
                raise batch
            yield batch

    def _keys(self, step: int) -> list[tuple[int, int]]:
        """The images of a step that are this process's, each with the number that its randomness comes from."""
        number, place = divmod(step, self.of_pass)
        batch = self._pass(number)[place]
        seed = mix(self.seed, number, Stream.VIEWS)
        return [(image, mix(seed, image, Stream.VIEWS)) for image in batch[ranks.share(len(batch))]]

    @lru_cache(maxsize=2)  # noqa: B019 (there is one loader a run)
    def _pass(self, number: int) -> list[list[int]]:
        """The batches of a pass over the images."""
        numbers = generator(self.seed, number, Stream.BATCHES)
        order = torch.randperm(self.num_data, generator=numbers).tolist()
        upright = [image for image in order if self.pictures[image].height > self.pictures[image].width]
        lying = [image for image in order if self.pictures[image].height <= self.pictures[image].width]
        rest = [
            *upright[len(upright) - len(upright) % self.batch_size :],
            *lying[len(lying) - len(lying) % self.batch_size :],
        ]
        batches = [batch for images in (upright, lying, rest) for batch in _whole(images, self.batch_size)]
        return [batches[i] for i in torch.randperm(len(batches), generator=numbers).tolist()]


def _whole(images: list[int], size: int) -> list[list[int]]:
    return [images[begin : begin + size] for begin in range(0, len(images) - size + 1, size)]


class _Items(Dataset[Any]):
    """Images by their place and number; a mistake that a user can mend is handed on, not raised, to the loader."""

    def __init__(self, pictures: list[Picture], masks: bool) -> None:
        self.pictures, self.masks = pictures, masks

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Target] | UserError:
        place, number = key
        picture = self.pictures[place]
        try:
            image = load_image(picture)
            masks = load_masks(picture) if self.masks else None
        except UserError as error:
            return error
        boxes = torch.from_numpy(picture.boxes.copy())
        if torch.rand((), generator=torch.Generator().manual_seed(number)) < 0.5:
            image = image.flip(2)
            boxes[:, [0, 2]] = picture.width - boxes[:, [2, 0]]
            masks = None if masks is None else masks.flip(2)
        target: Target = {
            "boxes": boxes,
            "labels": torch.from_numpy(picture.labels),
            "objects": torch.from_numpy(picture.objects),
            "number": number,
        }
        return image, target | ({} if masks is None else {"masks": masks})


def _together(items: list[tuple[Tensor, Target] | UserError]) -> Batch | UserError:
    images, targets = [], []
    for item in items:
        if isinstance(item, UserError):
            return item
        images.append(item[0])
        targets.append(item[1])
    return images, targets


class EvaluationLoader:
    """The test images one by one: ``(image (3, H, W) in [0, 1], its id)``; of several processes each has its share."""

    def __init__(self, data: Coco, workers: int) -> None:
        self.data, self.workers = data, workers
        self.num_data = len(data.pictures)

    def __len__(self) -> int:
        return len(self.data.pictures[ranks.share(self.num_data)])

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        own = self.data.pictures[ranks.share(self.num_data)]
        for image, number in DataLoader(_Tested(own), batch_size=None, num_workers=self.workers):
            if isinstance(image, UserError):
                raise image
            yield image, int(number)


class _Tested(Dataset[Any]):
    def __init__(self, pictures: list[Picture]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, place: int) -> tuple[Tensor | UserError, int]:
        picture = self.pictures[place]
        try:
            return load_image(picture), picture.id
        except UserError as error:
            return error, picture.id


@dataclass(frozen=True)
class Loaded:
    """The training and test images of a run, and what its record tells of them."""

    name: str
    train: TrainLoader
    test: EvaluationLoader
    classes: tuple[str, ...]
    augmentation: str = "flip"
    strong: None = None
    tree: None = None
    loader: str = "workers"

    @property
    def num_data(self) -> int:
        """How many images there are to train on."""
        return self.train.num_data

    @property
    def num_classes(self) -> int:
        """How many classes there are beside the background."""
        return len(self.classes)


def load(cfg: CfgNode, seed: int, masks: bool) -> Loaded:
    """The images that ``DATASET`` and ``DETECTION`` name.

    Args:
        seed: of the run.
        masks: whether a student learns masks.

    Raises:
        UserError: a file is missing or wrong, or the two files have other categories.
    """
    node, workers = cfg.DETECTION, cfg.DATASET.NUM_WORKERS
    trained, tested = _split(cfg, node.TRAIN, masks), test(cfg)
    if (trained.categories, trained.classes) != (tested.data.categories, tested.data.classes):
        raise UserError(f"{tested.data.file}: its categories are not those of {trained.file}")
    if not tested.data.with_objects():
        raise UserError(f"{tested.data.file}: has no object to be found")
    train = TrainLoader(trained, cfg.SOLVER.BATCH_SIZE, node.EPOCH_STEPS, seed, workers)
    trained.content.clear()  # which takes gigabytes of COCO
    return Loaded(cfg.DATASET.TYPE, train, tested, trained.classes)


def test(cfg: CfgNode) -> EvaluationLoader:
    """The test images alone; see `load`."""
    return EvaluationLoader(_split(cfg, cfg.DETECTION.VAL, masks=False), cfg.DATASET.NUM_WORKERS)


def _split(cfg: CfgNode, node: CfgNode, masks: bool) -> Coco:
    root = expand(cfg.DATASET.ROOT, "DATASET.ROOT")
    data = Coco(root / Path(node.ANNOTATIONS), root / Path(node.IMAGES), masks)
    for line in data.notes:
        print(line)
    return data
