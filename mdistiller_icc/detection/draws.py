"""What torchvision's detectors draw at random in training, drawn from each image's own number.

So an image's anchors, proposals and size are the same in whichever process, and after whichever interruption, its turn
comes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.transform import GeneralizedRCNNTransform


class Sampler(BalancedPositiveNegativeSampler):
    """torchvision's choice of anchors or proposals, from the images' numbers."""

    numbers: Sequence[int] = ()

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """The chosen positives and negatives of every image, as masks."""
        positive, negative = [], []
        for number, matched in zip(self.numbers, matched_idxs, strict=True):
            with torch.random.fork_rng([matched.device] if matched.is_cuda else []):
                torch.manual_seed(number)
                chosen = super().__call__([matched])
            positive += chosen[0]
            negative += chosen[1]
        return positive, negative


class Transform(GeneralizedRCNNTransform):
    """torchvision's normalising and resizing, the size from the image's number."""

    def draw(self, numbers: Sequence[int]) -> None:
        """The numbers of the images that come next."""
        self.coming = iter(numbers)

    def torch_choice(self, k: list[int]) -> int:
        """One of the sizes."""
        return k[next(self.coming) % len(k)]


def by_number(detector: GeneralizedRCNN) -> GeneralizedRCNN:
    """Have a detector draw from numbers, which `draw` gives it; the same detector."""
    for part in (detector.rpn, detector.roi_heads):
        theirs = part.fg_bg_sampler
        part.fg_bg_sampler = Sampler(theirs.batch_size_per_image, theirs.positive_fraction)
    now = detector.transform
    detector.transform = Transform(now.min_size, now.max_size, now.image_mean, now.image_std, now.size_divisible)
    return detector


def draw(detector: GeneralizedRCNN, numbers: Sequence[int]) -> None:
    """Tell a detector the numbers of the images of the next training pass."""
    detector.transform.draw(numbers)
    for part in (detector.rpn, detector.roi_heads):
        part.fg_bg_sampler.numbers = numbers
