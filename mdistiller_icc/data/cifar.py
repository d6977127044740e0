"""What CIFAR-10 and CIFAR-100 have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from .downloads import Layout, Opener
from .source import Split

SIZE = 32
SOURCE = "https://www.cs.toronto.edu/~kriz"


def layout(title: str, folder: str, published: str, archive: str, opener: Opener) -> Layout:
    """Where one of the two may be."""
    return Layout(title, folder, published, archive, SOURCE, SIZE, opener, _split)


def _split(part: Any) -> Split:
    images = np.ascontiguousarray(part.data.transpose(0, 3, 1, 2))
    return Split(images, np.asarray(part.targets, dtype=np.int64))
