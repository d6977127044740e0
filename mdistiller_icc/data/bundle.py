"""From a configuration to the loaders of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mdistiller_icc.errors import UserError, nearest

from . import cifar100, digits, imagenet, tiny_imagenet, transfer
from .augment import Augmentation
from .contrast import ContrastiveSampler
from .loaders import Normalize, Pixels, TestLoader, TrainLoader
from .recipes import RECIPES
from .resident import ResidentPixels, fits
from .source import Files, Source, Split
from .subset import take_fraction, take_share

READERS: dict[str, Callable[[Path], Source]] = {
    "digits": lambda root: digits.read(),
    "cifar100": cifar100.read,
    "tiny_imagenet": tiny_imagenet.read,
    "imagenet": imagenet.read,
}
CONTRASTIVE_TRAINERS = ("crd", "crd_dot")
LOADERS = ("auto", "resident", "workers")
TEST_PIXELS = 2**20
"""Of an evaluation batch on an accelerator: 1,024 images of CIFAR's size."""


@dataclass(frozen=True)
class Dataset:
    """What a run is given of its data set.

    Attributes:
        classes: names in label order.
        image_size: height and width of a batch's images.
        train: loader of ``(image, target, index)``, for CRD's trainers ``(image, target, index, contrastive_index)``.
        test: loader of ``(image, target)``.
        holdout: like ``test``, of the training images set aside for selection; None without.
        num_data: number of training images, which ``index`` counts.
        augmentation: in words, ``crop+flip``.
        unlabelled: the training images in the order of their index, not augmented, where they are another data set's
            and `transfer.label` has to give them labels before they are trained on; else None.
        loader: which kind is in use, ``resident`` or ``workers``.
    """

    name: str
    classes: tuple[str, ...]
    image_size: int
    train: TrainLoader
    test: TestLoader
    holdout: TestLoader | None
    num_data: int
    augmentation: str
    unlabelled: TestLoader | None
    loader: str

    @property
    def num_classes(self) -> int:
        return len(self.classes)


def load(
    cfg: Any,
    seed: int,
    device: torch.device,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Dataset:
    """Build the loaders that ``cfg.DATASET`` describes.

    Args:
        cfg: reads ``DATASET``, ``SOLVER.BATCH_SIZE``, ``SOLVER.TRAINER`` and, for CRD's trainers, ``CRD``.
        seed: of the run; it chooses order and augmentation, never which images are trained on.
        memory_format: of the batches' images.

    Raises:
        UserError: an unknown data set, a missing or damaged one, or a setting out of range.
    """
    node = cfg.DATASET
    for key, value, known in (("TYPE", node.TYPE, tuple(READERS)), ("LOADER", node.LOADER, LOADERS)):
        if value not in known:
            raise UserError(f"DATASET.{key}: unknown '{value}'{nearest(value, known)}; known: {', '.join(known)}")
    for key, value, least in (
        ("SOLVER.BATCH_SIZE", cfg.SOLVER.BATCH_SIZE, 1),
        ("DATASET.TEST.BATCH_SIZE", node.TEST.BATCH_SIZE, 1),
        ("DATASET.NUM_WORKERS", node.NUM_WORKERS, 0),
    ):
        if value < least:
            raise UserError(f"{key}: {value} is not at least {least}")

    recipe = RECIPES[node.TYPE]
    source = READERS[node.TYPE](Path(node.ROOT).expanduser())
    if node.IMAGES:
        source = replace(source, train=_borrow(cfg, recipe.image_size))
    kept, aside = _choose(source.train.labels, node.FRACTION, node.HOLDOUT)
    kind = _kind(node.LOADER, node.TYPE, source, device)
    normalize = Normalize(recipe.mean, recipe.std, device, memory_format)
    labels = np.full(len(kept), transfer.UNKNOWN) if node.IMAGES else source.train.labels[kept]
    contrast = None
    if cfg.SOLVER.TRAINER in CONTRASTIVE_TRAINERS:
        contrast = ContrastiveSampler(torch.from_numpy(labels).to(device), cfg.CRD.NCE.K, cfg.CRD.MODE)

    def pixels(split: Split, rows: np.ndarray, training: bool) -> Pixels:
        if kind == "resident":
            augmentation = recipe.augmentation if training else Augmentation()
            return ResidentPixels(split.images, rows, augmentation, device)
        # Imported here: torchvision's transforms take a second to import, which resident images need not spend.
        from .workers import WorkerPixels, evaluation_transform, training_transform

        transform = (training_transform if training else evaluation_transform)(recipe.augmentation, recipe.image_size)
        return WorkerPixels(split.images, rows, transform, node.NUM_WORKERS, device)

    def testing(split: Split, rows: np.ndarray) -> TestLoader:
        size = test_batch(node.TEST.BATCH_SIZE, recipe.image_size, kind, device)
        return TestLoader(pixels(split, rows, False), split.labels[rows], normalize, size, device)

    return Dataset(
        name=node.TYPE,
        classes=source.classes,
        image_size=recipe.image_size,
        train=TrainLoader(
            pixels(source.train, kept, True), labels, normalize, cfg.SOLVER.BATCH_SIZE, device, seed, contrast
        ),
        test=testing(source.test, np.arange(len(source.test))),
        holdout=testing(source.train, aside) if len(aside) else None,
        num_data=len(kept),
        augmentation=str(recipe.augmentation) + (f" of images of {node.IMAGES}" if node.IMAGES else ""),
        unlabelled=testing(source.train, kept) if node.IMAGES else None,
        loader=kind,
    )


def _borrow(cfg: Any, size: int) -> Split:
    """The training images of the data set ``DATASET.IMAGES``."""
    name = cfg.DATASET.IMAGES
    if name not in READERS:
        raise UserError(f"DATASET.IMAGES: unknown '{name}'{nearest(name, READERS)}; known: {', '.join(READERS)}")
    if cfg.SOLVER.TRAINER in CONTRASTIVE_TRAINERS:
        raise UserError(f"DATASET.IMAGES {name}: SOLVER.TRAINER {cfg.SOLVER.TRAINER} needs labels of its own")
    if cfg.DATASET.HOLDOUT > 0:
        raise UserError(f"DATASET.IMAGES {name}: without labels there is nothing to hold out (DATASET.HOLDOUT)")
    return transfer.borrow(READERS[name](Path(cfg.DATASET.ROOT).expanduser()).train, size, name)


def test_batch(asked: int, image_size: int, kind: str, device: torch.device) -> int:
    """Images per batch of an evaluation, whose result no batch size changes beyond rounding.

    An accelerator takes resident images in batches that keep it busy, a CPU in ones that stay in its cache.
    """
    if kind != "resident" or device.type == "cpu":
        return asked
    return max(asked, TEST_PIXELS // image_size**2)


def _choose(labels: np.ndarray, fraction: float, holdout: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training images that are trained on, and of those held out."""
    if not 0.0 < fraction <= 1.0:
        raise UserError(f"DATASET.FRACTION: {fraction} is not in (0, 1]")
    if not 0.0 <= holdout < 1.0:
        raise UserError(f"DATASET.HOLDOUT: {holdout} is not in [0, 1)")
    rows = take_fraction(labels, fraction)
    kept, aside = take_share(labels[rows], holdout)
    return rows[kept], rows[aside]


def _kind(wanted: str, name: str, source: Source, device: torch.device) -> str:
    splits = (source.train, source.test)
    if any(isinstance(split.images, Files) for split in splits):
        if wanted == "resident":
            raise UserError(f"DATASET.LOADER resident: {name}'s images differ in size; use 'workers' or 'auto'")
        return "workers"
    if wanted == "auto":
        return "resident" if fits(sum(split.images.nbytes for split in splits), device) else "workers"
    return wanted
