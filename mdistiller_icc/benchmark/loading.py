"""Loaders on one core: our training loader against torchvision's transforms, our CRD negatives against numpy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from mdistiller_icc import data
from mdistiller_icc.benchmark import images
from mdistiller_icc.benchmark.ratio import alternate, ratio
from mdistiller_icc.benchmark.settings import layout, settings
from mdistiller_icc.data.cifar100 import CIFAR100
from mdistiller_icc.data.contrast import ContrastiveSampler

BATCHES = 16


def loader(root: str | None, rounds: int, options: list[str]) -> dict[str, Any]:
    """Augmented, normalised batches a second: ours, and torchvision's PIL transforms as mdistiller composes them."""
    from torch.utils.data import default_collate
    from torchvision import transforms

    source = images.source(root)
    images.install(source)
    cfg = settings("NONE", "resnet8", "resnet8", *options)
    ours = data.load(cfg, 0, torch.device("cpu"), memory_format=layout(cfg)).train
    size = ours.batch_size
    transform = transforms.Compose([
        transforms.RandomCrop(CIFAR100.image_size, padding=CIFAR100.augmentation.padding),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(CIFAR100.mean, CIFAR100.std),
    ])  # fmt: skip
    pixels = np.ascontiguousarray(source.train.images.transpose(0, 2, 3, 1))
    batches = {"ours": iter(ours)}

    def theirs() -> None:
        for _ in range(BATCHES):
            rows = torch.randint(len(pixels), (size,)).tolist()
            default_collate(
                [(transform(Image.fromarray(pixels[row])), int(source.train.labels[row]), row) for row in rows]
            )

    def mine() -> None:
        for _ in range(BATCHES):
            if next(batches["ours"], None) is None:
                batches["ours"] = iter(ours)

    seconds = alternate({"theirs": theirs, "ours": mine}, rounds)
    return {
        "batch": size,
        "images_per_second": {name: BATCHES * size / float(np.median(s)) for name, s in seconds.items()},
        "ratio": ratio(seconds["theirs"], seconds["ours"])._asdict(),
    }


def negatives(root: str | None, rounds: int, count: int = 16384, batch: int = 64) -> dict[str, Any]:
    """CRD's negatives a second: our sampler, and one numpy choice without repetition per image as in RepDistiller."""
    labels = images.source(root).train.labels
    others = [np.flatnonzero(labels != number) for number in range(images.CLASSES)]
    sampler = ContrastiveSampler(torch.from_numpy(labels), count)
    sampler.set_seed(0)
    index = torch.randint(len(labels), (batch,))

    def theirs() -> None:
        for row in index.tolist():
            choices = others[labels[row]]
            np.hstack([[row], np.random.choice(choices, count, replace=count > len(choices))])

    seconds = alternate({"theirs": theirs, "ours": lambda: sampler(index)}, rounds)
    return {
        "K": count,
        "batch": batch,
        "negatives_per_second": {name: batch * count / float(np.median(s)) for name, s in seconds.items()},
        "ratio": ratio(seconds["theirs"], seconds["ours"])._asdict(),
    }
