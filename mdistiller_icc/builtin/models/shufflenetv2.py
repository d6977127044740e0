"""ShuffleNetV2 at width 1 for small images (Ma et al., 2018, Figure 3 c, d and Table 5)."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .features import Output, Staged, read_out


def pointwise(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 1×1 convolution: it mixes the channels of a pixel."""
    return nn.Conv2d(in_channels, out_channels, 1, bias=False)


def depthwise(channels: int, stride: int) -> nn.Conv2d:
    """A 3×3 convolution of each channel alone."""
    return nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False)


class SplitUnit(nn.Module):
    """Half of the channels pass by, the other half goes through three convolutions; then both are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1, self.bn1 = pointwise(half, half), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = depthwise(half, 1), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = pointwise(half, half), nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The unit's output, and its channels before the last ReLU and before the shuffle."""
        kept, changed = x.chunk(2, dim=1)
        out = F.relu(self.bn1(self.conv1(changed)), inplace=True)
        preact = self.bn3(self.conv3(self.bn2(self.conv2(out))))
        return F.channel_shuffle(torch.cat([kept, F.relu(preact)], dim=1), 2), torch.cat([kept, preact], dim=1)


class DownUnit(nn.Module):
    """Two strided branches, each making half of the new channels, shuffled together."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.conv1, self.bn1 = depthwise(in_channels, 2), nn.BatchNorm2d(in_channels)
        self.conv2, self.bn2 = pointwise(in_channels, half), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = pointwise(in_channels, half), nn.BatchNorm2d(half)
        self.conv4, self.bn4 = depthwise(half, 2), nn.BatchNorm2d(half)
        self.conv5, self.bn5 = pointwise(half, half), nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        left = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        right = F.relu(self.bn3(self.conv3(x)), inplace=True)
        right = self.bn5(self.conv5(self.bn4(self.conv4(right))))
        return F.channel_shuffle(F.relu(torch.cat([left, right], dim=1)), 2)


class ShuffleNetV2(Staged, nn.Module):
    """A 1×1 stem, three stages that each halve the resolution, and a 1×1 convolution.

    Args:
        widths: channels of the three stages and of the last convolution.
        depths: split units in each stage, after its strided unit.
        num_classes: length of the logits.
    """

    feature_modules = ("conv1", "bn1", "layer1", "layer2", "layer3")
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential

    def __init__(self, widths: tuple[int, int, int, int], depths: tuple[int, int, int], *, num_classes: int) -> None:
        super().__init__()
        *stage_widths, last_width = widths
        self.conv1, self.bn1 = pointwise(3, 24), nn.BatchNorm2d(24)
        channels = 24
        for number, (width, depth) in enumerate(zip(stage_widths, depths, strict=True), 1):
            stage = nn.Sequential(DownUnit(channels, width), *(SplitUnit(width) for _ in range(depth)))
            self.add_module(f"layer{number}", stage)
            channels = width
        self.conv2, self.bn2 = pointwise(channels, last_width), nn.BatchNorm2d(last_width)
        self.linear = nn.Linear(last_width, num_classes)
        self.stage_channels = [24, *stage_widths]

    def forward(self, image: Tensor) -> Output:
        x = F.relu(self.bn1(self.conv1(image)))
        feats, preacts = [x], [x]
        for stage in (self.layer1, self.layer2, self.layer3):
            down, *units = stage
            x = down(x)
            for unit in units:
                x, preact = unit(x)
            feats.append(x)
            preacts.append(preact)
        return read_out(self.linear, F.relu(self.bn2(self.conv2(x))), feats, preacts)


ShuffleV2 = partial(ShuffleNetV2, (116, 232, 464, 1024), (3, 7, 3))
