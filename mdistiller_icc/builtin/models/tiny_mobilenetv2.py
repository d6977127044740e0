"""MobileNetV2 at full width for Tiny-ImageNet (Sandler et al., 2018, Table 2, with fewer strides)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .features import Output, Staged, last_norm, read_out
from .inverted import InvertedResidual

# One row per stage: expansion, channels, blocks, stride of the first.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 1),
    (6, 320, 1, 1),
)
FEATURE_STAGES = (2, 3, 4)
"""The numbers, from 1, of the stages whose outputs are features."""


class TinyMobileNetV2(Staged, nn.Module):
    """A 1×1 stem padded by one pixel, seven stages, a 1×1 convolution to 1280 channels, a 1×1 convolution to classes.

    Args:
        num_classes: length of the logits.
    """

    feature_modules = ("pre", "stage1", "stage2", "stage3", "stage4", "stage5", "stage6", "stage7", "conv1")

    def __init__(self, *, num_classes: int) -> None:
        super().__init__()
        self.pre = nn.Sequential(nn.Conv2d(3, 32, 1, padding=1), nn.BatchNorm2d(32), nn.ReLU6(inplace=True))
        channels = 32
        for number, (expansion, out, depth, stride) in enumerate(STAGES, 1):
            blocks = []
            for index in range(depth):
                step = stride if index == 0 else 1
                blocks.append(
                    InvertedResidual(channels, out, step, expansion, name="residual", bias=True, activation=nn.ReLU6)
                )
                channels = out
            # mdistiller's keys: a stage of one block is the block itself.
            self.add_module(f"stage{number}", nn.Sequential(*blocks) if depth > 1 else blocks[0])
        self.conv1 = nn.Sequential(nn.Conv2d(channels, 1280, 1), nn.BatchNorm2d(1280))
        self.conv2 = nn.Conv2d(1280, num_classes, 1)
        self.stage_channels = [32, *(STAGES[number - 1][1] for number in FEATURE_STAGES), 1280]

    def get_bn_before_relu(self) -> list[nn.BatchNorm2d]:
        ends = [*(self.get_submodule(f"stage{number}") for number in FEATURE_STAGES), self.conv1]
        return [last_norm(module) for module in ends]

    def _classify(self, pooled: Tensor) -> Tensor:
        return self.conv2(pooled[:, :, None, None]).flatten(1)

    def forward(self, image: Tensor) -> Output:
        x = self.pre(image)
        feats = [x]
        for number in range(1, len(STAGES) + 1):
            x = getattr(self, f"stage{number}")(x)
            if number in FEATURE_STAGES:
                feats.append(x)
        preact = self.conv1(x)
        last = F.relu6(preact)
        return read_out(self._classify, last, [*feats, last], [*feats, preact])
