"""MobileNetV2 at half width for CIFAR (Sandler et al., 2018, Table 2, with fewer strides)."""

from __future__ import annotations

from torch import Tensor, nn

from .features import Output, Staged, last_norm, read_out
from .inverted import InvertedResidual
from .weights import he_fan_out, small_linear

# One row per stage: expansion, channels at full width, blocks, stride of the first.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
FEATURE_STAGES = (1, 2, 4, 6)
"""The stages whose outputs are features: the last of each resolution (and the second of the first)."""


class MobileNetV2(Staged, nn.Module):
    """A stem, seven stages of inverted residuals and a 1×1 convolution to 1280 channels.

    Its stages end without a ReLU, so ``preact_feats`` equals ``feats``.

    Args:
        width: factor on the channels of all but the last convolution.
        num_classes: length of the logits.
    """

    feature_modules = ("conv1", "blocks")

    def __init__(self, *, num_classes: int, width: float = 0.5) -> None:
        super().__init__()
        channels = int(32 * width)
        self.conv1 = self._convolution(3, channels, kernel=3, stride=2)
        widths = [channels]
        self.blocks = nn.ModuleList()
        for expansion, full, depth, stride in STAGES:
            out = int(full * width)
            stage = nn.Sequential()
            for number in range(depth):
                step = stride if number == 0 else 1
                stage.append(
                    InvertedResidual(channels, out, step, expansion, name="conv", bias=False, activation=nn.ReLU)
                )
                channels = out
            self.blocks.append(stage)
            widths.append(out)
        self.stage_channels = [widths[0], *(widths[number + 1] for number in FEATURE_STAGES)]
        self.conv2 = self._convolution(channels, 1280, kernel=1, stride=1)
        linear = nn.Linear(1280, num_classes)
        self.classifier = nn.Sequential(linear)
        he_fan_out(self)
        small_linear(linear)

    @staticmethod
    def _convolution(in_channels: int, out_channels: int, *, kernel: int, stride: int) -> nn.Sequential:
        conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))

    def get_bn_before_relu(self) -> list[nn.BatchNorm2d]:
        return [last_norm(self.blocks[number]) for number in FEATURE_STAGES]

    def forward(self, image: Tensor) -> Output:
        x = self.conv1(image)
        feats = [x]
        for number, stage in enumerate(self.blocks):
            x = stage(x)
            if number in FEATURE_STAGES:
                feats.append(x)
        return read_out(self.classifier, self.conv2(x), feats, list(feats))
