"""From a configuration to the loaders of a run."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mdistiller_icc.errors import UserError

from . import transfer
from .augment import Augmentation
from .catalogue import data_set, described
from .contrast import ContrastiveSampler
from .dataset import DataSet
from .loaders import Loaded, Normalize, Pixels, TestLoader, TrainLoader
from .moments import Moments, measured
from .resident import ResidentPixels, fits
from .sizes import evaluation, fitting, of_size, small
from .source import Files, Source, Split
from .strong import strong_transform
from .subset import take_fraction, take_share
from .tree import tree
from .workers import WorkerPixels, training_transform

CONTRASTIVE_TRAINERS = ("crd", "crd_dot")
TEST_PIXELS = 2**20
"""Of an evaluation batch on an accelerator: 1,024 images of CIFAR's size."""


def load(
    cfg: Any,
    seed: int,
    device: torch.device,
    memory_format: torch.memory_format = torch.contiguous_format,
    strong: str | None = None,
) -> Loaded:
    """Build the loaders that ``cfg.DATASET`` describes.

    Args:
        cfg: reads ``DATASET``, ``SOLVER.BATCH_SIZE``, ``SOLVER.TRAINER`` and, for CRD's trainers, ``CRD``.
        seed: of the run; it chooses order and augmentation, never which images are trained on.
        memory_format: of the batches' images.
        strong: the strong view that training batches have as well, a key of `STRONG`; None for one view.

    Raises:
        UserError: an unknown data set, or strong view, or a missing or damaged one.
    """
    node = cfg.DATASET
    wanted = described(cfg)
    if wanted.loaded is not None:
        assert strong is None, "images that are given as torch objects have one view; the run's check refuses it"
        made: Loaded = wanted.loaded(cfg, seed, device, memory_format)
        return made
    size = wanted.image_size
    found = wanted.read(_root(cfg))
    source = Source(found.classes, small(found.train, size), small(found.test, size))
    mean, std = _moments(wanted, found.train, source.train)
    if node.IMAGES:
        source = replace(source, train=small(_borrow(cfg), size))
    kept, aside = _choose(source.train.labels, node.FRACTION, node.HOLDOUT)
    kind = _kind(node.LOADER, node.TYPE, source, size, device)
    normalize = Normalize(mean, std, device, memory_format)
    labels = np.full(len(kept), transfer.UNKNOWN) if node.IMAGES else source.train.labels[kept]
    contrast = None
    if cfg.SOLVER.TRAINER in CONTRASTIVE_TRAINERS:
        contrast = ContrastiveSampler(torch.from_numpy(labels).to(device), cfg.CRD.NCE.K, cfg.CRD.MODE)

    def pixels(split: Split, rows: np.ndarray, training: bool) -> Pixels:
        more = [strong_transform(strong, wanted.augmentation, size)] if training and strong is not None else []
        if kind == "resident":
            assert not isinstance(split.images, Files)  # `_kind` has seen to it
            augmentation = wanted.augmentation if training else Augmentation()
            host = WorkerPixels(split.images, rows, more, node.NUM_WORKERS, device) if more else None
            return ResidentPixels(split.images, rows, augmentation, device, host)
        first = training_transform(wanted.augmentation, size) if training else evaluation(wanted, split)
        views = [fitting(wanted, split, view) for view in (first, *more)] if training else [first]
        return WorkerPixels(split.images, rows, views, node.NUM_WORKERS, device)

    def testing(split: Split, rows: np.ndarray) -> TestLoader:
        batch = test_batch(node.TEST.BATCH_SIZE, size, kind, device)
        return TestLoader(pixels(split, rows, False), split.labels[rows], normalize, batch, device)

    return Loaded(
        name=node.TYPE,
        classes=source.classes,
        image_size=size,
        train=TrainLoader(
            pixels(source.train, kept, True), labels, normalize, cfg.SOLVER.BATCH_SIZE, device, seed, contrast
        ),
        test=testing(source.test, np.arange(len(source.test))),
        holdout=testing(source.train, aside) if len(aside) else None,
        num_data=len(kept),
        augmentation=str(wanted.augmentation) + (f" of images of {node.IMAGES}" if node.IMAGES else ""),
        strong=strong,
        unlabelled=testing(source.train, kept) if node.IMAGES else None,
        loader=kind,
        mean=mean,
        std=std,
        tree=tree(wanted, found),
    )


def _root(cfg: Any) -> Path:
    return Path(os.path.expanduser(cfg.DATASET.ROOT))  # Path's own fails for a user whom nobody knows


def _moments(wanted: DataSet, files: Split, train: Split) -> Moments:
    """Mean and deviation to normalise by: the data set's, or those of its training images.

    Args:
        files: the training images as they were found.
        train: the same, brought to their size if they are small.

    Raises:
        UserError: an image cannot be read, or a channel is the same everywhere.
    """
    mean, std = wanted.mean, wanted.std
    if mean is None or std is None:
        assert isinstance(files.images, Files), f"{wanted.name} says no mean"
        own = measured(files.images, train.images, wanted.image_size, wanted.test_resize or wanted.image_size)
        mean, std = mean or own[0], std or own[1]
        if min(std) == 0.0:
            raise UserError(f"{files.images.folder}: a colour channel has one value everywhere; set DATASET.STD")
    return mean, std


def _borrow(cfg: Any) -> Split:
    """The training images of the data set ``DATASET.IMAGES``."""
    name = cfg.DATASET.IMAGES
    lender = data_set(name, "DATASET.IMAGES")
    if cfg.SOLVER.TRAINER in CONTRASTIVE_TRAINERS:
        raise UserError(f"DATASET.IMAGES {name}: SOLVER.TRAINER {cfg.SOLVER.TRAINER} needs labels of its own")
    if cfg.DATASET.HOLDOUT > 0:
        raise UserError(f"DATASET.IMAGES {name}: without labels there is nothing to hold out (DATASET.HOLDOUT)")
    return lender.read(_root(cfg)).train


def test_batch(asked: int, image_size: int, kind: str, device: torch.device) -> int:
    """Images per batch of an evaluation, whose result no batch size changes beyond rounding.

    An accelerator takes resident images in batches that keep it busy, a CPU in ones that stay in its cache.
    """
    if kind != "resident" or device.type == "cpu":
        return asked
    return max(asked, TEST_PIXELS // image_size**2)


def _choose(labels: np.ndarray, fraction: float, holdout: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training images that are trained on, and of those held out."""
    rows = take_fraction(labels, fraction)
    kept, aside = take_share(labels[rows], holdout)
    return rows[kept], rows[aside]


def _kind(wanted: str, name: str, source: Source, size: int, device: torch.device) -> str:
    """Which kind of loader serves the images, ``resident`` or ``workers``."""
    splits = source.train, source.test
    if not all(of_size(split, size) for split in splits):
        if wanted == "resident":
            raise UserError(
                f"DATASET.LOADER resident: {name}'s images differ in size or are not of {size} pixels; "
                "use 'workers' or 'auto'"
            )
        return "workers"
    if wanted == "auto":
        bytes_ = 3 * size**2 * sum(map(len, splits))
        return "resident" if fits(bytes_, device) else "workers"
    return wanted
