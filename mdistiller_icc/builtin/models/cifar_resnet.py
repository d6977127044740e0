"""The CIFAR ResNets of three stages, resnet8 to resnet110, and their four times wider kin (He et al., 2016, §4.2)."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from .features import Output, Staged, read_out
from .residual import ResidualStage
from .weights import he_fan_out

NARROW = (16, 16, 32, 64)
WIDE = (32, 64, 128, 256)


class CifarResNet(Staged, nn.Module):
    """A stem and three stages at full, half and quarter resolution.

    Args:
        depth: 6n + 2, for n blocks a stage.
        widths: channels of the stem and of the three stages.
        num_classes: length of the logits.
    """

    feature_modules = ("conv1", "bn1", "relu", "layer1", "layer2", "layer3")

    def __init__(self, depth: int, widths: tuple[int, int, int, int], *, num_classes: int) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest:
            raise ValueError(f"a CIFAR ResNet has 6n + 2 layers, not {depth}")
        self.stage_channels = list(widths)
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = ResidualStage(blocks, widths[0], widths[1], 1, shortcut="downsample")
        self.layer2 = ResidualStage(blocks, widths[1], widths[2], 2, shortcut="downsample")
        self.layer3 = ResidualStage(blocks, widths[2], widths[3], 2, shortcut="downsample")
        self.fc = nn.Linear(widths[3], num_classes)
        he_fan_out(self)

    def get_bn_before_relu(self) -> list[nn.BatchNorm2d]:
        return [stage.last_bn for stage in (self.layer1, self.layer2, self.layer3)]

    def forward(self, image: Tensor) -> Output:
        x = self.relu(self.bn1(self.conv1(image)))
        feats, preacts = [x], [x]
        for stage in (self.layer1, self.layer2, self.layer3):
            x, preact = stage(x)
            feats.append(x)
            preacts.append(preact)
        return read_out(self.fc, x, feats, preacts)


resnet8 = partial(CifarResNet, 8, NARROW)
resnet14 = partial(CifarResNet, 14, NARROW)
resnet20 = partial(CifarResNet, 20, NARROW)
resnet32 = partial(CifarResNet, 32, NARROW)
resnet44 = partial(CifarResNet, 44, NARROW)
resnet56 = partial(CifarResNet, 56, NARROW)
resnet110 = partial(CifarResNet, 110, NARROW)
resnet8x4 = partial(CifarResNet, 8, WIDE)
resnet32x4 = partial(CifarResNet, 32, WIDE)
