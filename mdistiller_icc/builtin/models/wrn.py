"""Wide residual networks with pre-activation blocks (Zagoruyko and Komodakis, 2016, Table 1)."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .features import Output, Staged, read_out
from .weights import he_fan_out


class PreactBlock(nn.Module):
    """Batch norm, ReLU and convolution, twice, added to the input."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.convShortcut = None
        if in_channels != out_channels:
            self.convShortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The block's output, and its normalised input: what the stage before looks like before its ReLU."""
        normed = self.bn1(x)
        active = F.relu(normed)
        out = self.conv2(F.relu(self.bn2(self.conv1(active)), inplace=True))
        return out + (x if self.convShortcut is None else self.convShortcut(active)), normed


class PreactStage(nn.Module):
    """Pre-activation blocks of one width, the first with the stage's stride."""

    def __init__(self, depth: int, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        first = PreactBlock(in_channels, out_channels, stride)
        self.layer = nn.Sequential(first, *(PreactBlock(out_channels, out_channels, 1) for _ in range(depth - 1)))

    @property
    def first_bn(self) -> nn.BatchNorm2d:
        """The batch norm that the stage begins with."""
        block = self.layer[0]
        assert isinstance(block, PreactBlock)
        return block.bn1

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The stage's output, and its normalised input."""
        first, *rest = self.layer
        x, normed = first(x)
        for block in rest:
            x, _ = block(x)
        return x, normed


class WideResNet(Staged, nn.Module):
    """A stem and three stages at full, half and quarter resolution; ``feats`` are the raw sums.

    Args:
        depth: 6n + 4, for n blocks a stage.
        widen: how many times wider than 16, 32, 64 channels.
        num_classes: length of the logits.
        upstream: normalise the features a second time for ``preact_feats``, as mdistiller does: the same
            values, but in training the three batch norms take their running statistics in twice.
    """

    feature_modules = ("conv1", "block1", "block2", "block3")

    def __init__(self, depth: int, widen: int, *, num_classes: int, upstream: bool = False) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        if rest:
            raise ValueError(f"a wide ResNet has 6n + 4 layers, not {depth}")
        widths = [16, 16 * widen, 32 * widen, 64 * widen]
        self.stage_channels = widths
        self.upstream = upstream
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.block1 = PreactStage(blocks, widths[0], widths[1], 1)
        self.block2 = PreactStage(blocks, widths[1], widths[2], 2)
        self.block3 = PreactStage(blocks, widths[2], widths[3], 2)
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.fc = nn.Linear(widths[3], num_classes)
        he_fan_out(self)
        nn.init.zeros_(self.fc.bias)

    def get_bn_before_relu(self) -> list[nn.BatchNorm2d]:
        return [self.block2.first_bn, self.block3.first_bn, self.bn1]

    def forward(self, image: Tensor) -> Output:
        stem = self.conv1(image)
        f1, _ = self.block1(stem)
        f2, normed1 = self.block2(f1)
        f3, normed2 = self.block3(f2)
        normed3 = self.bn1(f3)
        normed = [normed1, normed2, normed3]
        if self.upstream:
            normed = [bn(f) for bn, f in zip(self.get_bn_before_relu(), (f1, f2, f3), strict=True)]
        return read_out(self.fc, F.relu(normed3), [stem, f1, f2, f3], [stem, *normed])


wrn_16_1 = partial(WideResNet, 16, 1)
wrn_16_2 = partial(WideResNet, 16, 2)
wrn_40_1 = partial(WideResNet, 40, 1)
wrn_40_2 = partial(WideResNet, 40, 2)
