"""CRD's negatives: our sampler against one NumPy choice without repetition per image, as in RepDistiller."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import torch

from benchmarks.ratio import alternate, ratio
from mdistiller_icc.data.contrast import ContrastiveSampler

NEGATIVES, BATCH = 16384, 64


def measure(rounds: int) -> dict[str, Any]:
    """Negatives a second of both, in turn, for the labels of CIFAR-100: 500 images in each of 100 classes."""
    labels = np.arange(50_000) % 100
    others = [np.flatnonzero(labels != number) for number in range(100)]
    sampler = ContrastiveSampler(torch.from_numpy(labels), NEGATIVES)
    sampler.set_seed(0)
    index = torch.randint(len(labels), (BATCH,))

    def theirs() -> None:
        for row in index.tolist():
            np.hstack([[row], np.random.choice(others[labels[row]], NEGATIVES, replace=False)])

    seconds = alternate({"theirs": theirs, "ours": lambda: sampler(index)}, rounds)
    speeds = {side: BATCH * NEGATIVES / statistics.median(taken) for side, taken in seconds.items()}
    return {"K": NEGATIVES, "negatives_per_second": speeds, "ratio": ratio(seconds["theirs"], seconds["ours"])}
