"""ShuffleNet with three groups for small images (Zhang et al., 2018, Table 1)."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .features import Output, Staged, read_out


class ShuffleUnit(nn.Module):
    """A grouped bottleneck with a channel shuffle; the last ReLU is left to the network.

    Args:
        in_channels: channels of the input; out_channels: of the output.
        stride: 2 halves the resolution and joins the pooled input beside the new channels; 1 adds the input.
        groups: groups of the last 1×1 convolution; in_groups: of the first.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, groups: int, in_groups: int) -> None:
        super().__init__()
        made = out_channels - in_channels if stride == 2 else out_channels
        inside = made // 4
        self.conv1 = nn.Conv2d(in_channels, inside, 1, groups=in_groups, bias=False)
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv2 = nn.Conv2d(inside, inside, 3, stride=stride, padding=1, groups=inside, bias=False)
        self.bn2 = nn.BatchNorm2d(inside)
        self.conv3 = nn.Conv2d(inside, made, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(made)
        self.stride = stride
        self.in_groups = in_groups

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.channel_shuffle(out, self.in_groups)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        if self.stride == 1:
            return out + x
        return torch.cat([out, F.avg_pool2d(x, 3, stride=2, padding=1)], dim=1)


class ShuffleNetV1(Staged, nn.Module):
    """A 1×1 stem and three stages; each halves the resolution.

    Args:
        widths: channels of the three stages; depths: their units; groups: of their 1×1 convolutions.
        num_classes: length of the logits.
    """

    feature_modules = ("conv1", "bn1", "layer1", "layer2", "layer3")
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential

    def __init__(
        self, widths: tuple[int, int, int], depths: tuple[int, int, int], groups: int, *, num_classes: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        channels = 24
        for number, (width, depth) in enumerate(zip(widths, depths, strict=True), 1):
            # The paper groups no convolution right after the stem: its channels are too few.
            units = [ShuffleUnit(channels, width, 2, groups=groups, in_groups=1 if number == 1 else groups)]
            units += [ShuffleUnit(width, width, 1, groups=groups, in_groups=groups) for _ in range(depth - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*units))
            channels = width
        self.linear = nn.Linear(channels, num_classes)
        self.stage_channels = [24, *widths]

    def forward(self, image: Tensor) -> Output:
        x = F.relu(self.bn1(self.conv1(image)))
        feats, preacts = [x], [x]
        for stage in (self.layer1, self.layer2, self.layer3):
            for unit in stage:
                preact = unit(x)
                x = F.relu(preact)
            feats.append(x)
            preacts.append(preact)
        return read_out(self.linear, x, feats, preacts)


ShuffleV1 = partial(ShuffleNetV1, (240, 480, 960), (4, 8, 4), 3)
