"""scikit-learn's handwritten digits, enlarged to CIFAR's shape: real images that need no download."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from .augment import Augmentation
from .dataset import DataSet
from .source import Source, Split

SIZE = 32
TEST_SHARE = 0.2


def read() -> Source:
    """Read the 1,797 digits as 32×32 RGB, 80 % of every class for training and the same images every time."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    small = torch.from_numpy(digits.images).float().unsqueeze(1)
    large = F.interpolate(small * (255.0 / 16.0), size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    images = large.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1).contiguous().numpy()
    labels = digits.target.astype(np.int64)
    rows = np.arange(len(labels))
    train, test = map(np.sort, train_test_split(rows, test_size=TEST_SHARE, stratify=labels, random_state=0))
    return Source(
        classes=tuple(str(name) for name in digits.target_names),
        train=Split(images[train], labels[train]),
        test=Split(images[test], labels[test]),
    )


DIGITS = DataSet(
    name="digits",
    num_classes=10,
    image_size=SIZE,
    mean=(0.3054, 0.3054, 0.3054),
    std=(0.3237, 0.3237, 0.3237),
    augmentation=Augmentation(padding=4),  # not flipped: a mirrored digit is another symbol
    read=lambda _root: read(),
    models="cifar_model_dict",
    known_to="us",
)
