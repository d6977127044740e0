"""VGG with batch norm for small images, vgg8 to vgg19 (Simonyan and Zisserman, 2015, Table 1)."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .features import Output, Staged, last_norm, read_out
from .weights import he_fan_out, small_linear

WIDTHS = (64, 128, 256, 512, 512)


def convolutions(depth: int, in_channels: int, width: int) -> nn.Sequential:
    """3×3 convolutions with batch norm, ReLU between them and none at the end."""
    layers: list[nn.Module] = []
    for number in range(depth):
        if number:
            layers.append(nn.ReLU(inplace=True))
        layers += [nn.Conv2d(width if number else in_channels, width, 3, padding=1), nn.BatchNorm2d(width)]
    return nn.Sequential(*layers)


class VGG(Staged, nn.Module):
    """Five stages with pooling between them and a linear classifier.

    Args:
        depths: convolutions in each stage.
        num_classes: length of the logits.
    """

    feature_modules = tuple(f"{part}{number}" for number in range(5) for part in ("block", "pool"))
    block0: nn.Sequential

    def __init__(self, depths: tuple[int, int, int, int, int], *, num_classes: int) -> None:
        super().__init__()
        self.stage_channels = list(WIDTHS)
        for number, (depth, before, width) in enumerate(zip(depths, (3, *WIDTHS), WIDTHS, strict=False)):
            self.add_module(f"block{number}", convolutions(depth, before, width))
        for number in range(4):
            self.add_module(f"pool{number}", nn.MaxPool2d(2))
        self.pool4 = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(WIDTHS[-1], num_classes)
        he_fan_out(self)
        small_linear(self.classifier)

    def get_bn_before_relu(self) -> list[nn.BatchNorm2d]:
        return [last_norm(self.get_submodule(f"block{number}")) for number in range(1, 5)]

    def forward(self, image: Tensor) -> Output:
        # The fourth pool is for 64-pixel images alone: at 32 pixels the last two stages share one resolution.
        pools = 4 if image.shape[2] == 64 else 3
        x = F.relu(self.block0(image))
        feats, preacts = [x], [x]
        for number in range(1, 5):
            if number <= pools:
                x = getattr(self, f"pool{number - 1}")(x)
            preact = getattr(self, f"block{number}")(x)
            x = F.relu(preact)
            feats.append(x)
            preacts.append(preact)
        return read_out(self.classifier, x, feats, preacts)


vgg8 = partial(VGG, (1, 1, 1, 1, 1))
vgg11 = partial(VGG, (1, 1, 2, 2, 2))
vgg13 = partial(VGG, (2, 2, 2, 2, 2))
vgg16 = partial(VGG, (2, 2, 3, 3, 3))
vgg19 = partial(VGG, (2, 2, 4, 4, 4))
