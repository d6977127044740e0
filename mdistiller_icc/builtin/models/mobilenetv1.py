"""MobileNet for ImageNet: separable convolutions (Howard et al., 2017, Table 1)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UserError
from .features import Output, Staged, last_norm, read_out

# One row per separable convolution: input and output channels, stride.
SEPARABLE = (
    (32, 64, 1),
    (64, 128, 2),
    (128, 128, 1),
    (128, 256, 2),
    (256, 256, 1),
    (256, 512, 2),
    *[(512, 512, 1)] * 5,
    (512, 1024, 2),
    (1024, 1024, 1),
)
FEATURE_LAYERS = (3, 5, 11, 13)
"""The last layer of each resolution, the stem being layer 0."""


class MobileNetV1(Staged, nn.Module):
    """A strided stem and thirteen separable convolutions; four of their outputs are features.

    Args:
        pretrained: refused, as no weights were ever released for this network.
        num_classes: length of the logits.

    Raises:
        UserError: pretrained weights are asked for.
    """

    feature_modules = ("model",)

    def __init__(self, *, pretrained: bool = False, num_classes: int = 1000) -> None:
        if pretrained:
            raise UserError("MobileNetV1 has no pretrained weights: name a checkpoint, or train it first")
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32))
        self.model = nn.Sequential(stem, *(self._separable(*row) for row in SEPARABLE))
        self.fc = nn.Linear(1024, num_classes)
        self.stage_channels = [SEPARABLE[number - 1][1] for number in FEATURE_LAYERS]

    @staticmethod
    def _separable(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
        """3×3 per channel, then 1×1 across channels, without the last ReLU."""
        return nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, stride=stride, padding=1, groups=in_channels, bias=False),
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def get_bn_before_relu(self) -> list[nn.BatchNorm2d]:
        return [last_norm(self.model[number]) for number in FEATURE_LAYERS]

    def forward(self, image: Tensor) -> Output:
        x = image
        feats, preacts = [], []
        for number, layer in enumerate(self.model):
            preact = layer(x)
            if number in FEATURE_LAYERS:
                x = F.relu(preact)
                feats.append(x)
                preacts.append(preact)
            else:
                x = F.relu(preact, inplace=True)
        return read_out(self.fc, x, feats, preacts)
