"""Random numbers that depend on (seed, epoch, purpose) alone, so a resumed run draws what an unbroken one would."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What random numbers are for; two purposes never share them."""

    BATCHES = 0
    VIEWS = 1
    NEGATIVES = 2


def mix(seed: int, epoch: int, stream: Stream) -> int:
    """A 64-bit seed for one purpose of one epoch of a run."""
    return int(np.random.SeedSequence((seed, epoch, int(stream))).generate_state(1, np.uint64)[0])


def generator(seed: int, epoch: int, stream: Stream) -> torch.Generator:
    """A CPU generator for one purpose of one epoch of a run."""
    return torch.Generator().manual_seed(mix(seed, epoch, stream))
