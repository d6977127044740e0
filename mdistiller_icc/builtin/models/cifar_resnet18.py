"""ResNet18 and ResNet50 for small images: a 3×3 stem, no pooling, four stages (He et al., 2016)."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .features import Output, Staged, read_out
from .residual import ResidualStage
from .weights import he_fan_out

WIDTHS = (64, 128, 256, 512)


class SmallImageResNet(Staged, nn.Module):
    """A stem and four stages; each after the first halves the resolution.

    Args:
        depths: blocks in each stage.
        bottleneck: bottleneck blocks, four times as wide at their ends.
        num_classes: length of the logits.
    """

    feature_modules = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
    layer1: ResidualStage
    layer2: ResidualStage
    layer3: ResidualStage
    layer4: ResidualStage

    def __init__(self, depths: tuple[int, int, int, int], bottleneck: bool, *, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.stage_channels = [64]
        for number, (depth, width) in enumerate(zip(depths, WIDTHS, strict=True), 1):
            stride = 1 if number == 1 else 2
            before = self.stage_channels[-1]
            stage = ResidualStage(depth, before, width, stride, bottleneck=bottleneck, shortcut="shortcut")
            self.add_module(f"layer{number}", stage)
            self.stage_channels.append(stage.out_channels)
        self.linear = nn.Linear(self.stage_channels[-1], num_classes)
        he_fan_out(self)

    @property
    def stages(self) -> list[ResidualStage]:
        return [self.layer1, self.layer2, self.layer3, self.layer4]

    def get_bn_before_relu(self) -> list[nn.BatchNorm2d]:
        return [stage.last_bn for stage in self.stages]

    def forward(self, image: Tensor) -> Output:
        x = F.relu(self.bn1(self.conv1(image)))
        feats, preacts = [x], [x]
        for stage in self.stages:
            x, preact = stage(x)
            feats.append(x)
            preacts.append(preact)
        return read_out(self.linear, x, feats, preacts)


ResNet18 = partial(SmallImageResNet, (2, 2, 2, 2), False)
ResNet50 = partial(SmallImageResNet, (3, 4, 6, 3), True)
