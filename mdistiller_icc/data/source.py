"""What every data set is read into: decoded images, or a list of image files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Files:
    """Image files too many to decode at once.

    Attributes:
        folder: what the names are relative to.
        names: bytes (N,), one flat array, so that worker processes share it instead of copying a million objects.
    """

    folder: Path
    names: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> Path:
        return self.folder / os.fsdecode(self.names[row])


@dataclass(frozen=True)
class Split:
    """The images of one split and their labels.

    Attributes:
        images: uint8 (N, 3, H, W), in memory or memory-mapped; or the files.
        labels: int64 (N,).
    """

    images: np.ndarray | Files
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Source:
    """A data set as it lies on the disk: its classes in label order and its two splits."""

    classes: tuple[str, ...]
    train: Split
    test: Split
