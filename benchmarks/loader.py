"""Our training loader against torchvision's transforms of PIL images, as mdistiller composes them."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch.utils.data import default_collate
from torchvision import transforms  # type: ignore[import-untyped]

from benchmarks.ours import configuration, load
from benchmarks.ratio import alternate, ratio
from benchmarks.theirs import pixels

BATCHES = 16


def measure(rounds: int, options: Sequence[str]) -> dict[str, Any]:
    """Make augmented, normalised batches of both kinds in turn, some in each of the ``rounds``."""
    ours = load(configuration("NONE", "resnet8", "resnet8", options)).train
    transform = transforms.Compose([
        transforms.RandomCrop(32, padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    ])  # fmt: skip
    images, size = pixels(50_000), ours.batch_size
    batches = itertools.chain.from_iterable(itertools.repeat(ours))

    def theirs() -> None:
        for _ in range(BATCHES):
            rows = torch.randint(len(images), (size,)).tolist()
            default_collate([(transform(Image.fromarray(images[row])), row % 100, row) for row in rows])

    def mine() -> None:
        for _ in range(BATCHES):
            next(batches)

    seconds = alternate({"theirs": theirs, "ours": mine}, rounds)
    speeds = {side: BATCHES * size / statistics.median(taken) for side, taken in seconds.items()}
    return {"images_per_second": speeds, "ratio": ratio(seconds["theirs"], seconds["ours"])}
