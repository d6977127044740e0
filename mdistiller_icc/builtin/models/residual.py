"""Residual blocks and the stages made of them (He et al., 2016)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """A chain of convolutions with batch norm, added to its input; the last ReLU is left to the stage.

    Args:
        in_channels: channels of the input.
        width: channels inside; the block gives ``width`` of them (basic) or ``4 * width`` (bottleneck).
        stride: of the block's first 3×3 convolution.
        bottleneck: 1×1, 3×3, 1×1 instead of two 3×3 convolutions.
        shortcut: the name of the projection in the state dict, where shapes call for one.
    """

    def __init__(self, in_channels: int, width: int, stride: int, *, bottleneck: bool, shortcut: str) -> None:
        super().__init__()
        out_channels = width * 4 if bottleneck else width
        # One row per convolution: output channels, kernel, stride.
        chain = (
            [(width, 1, 1), (width, 3, stride), (out_channels, 1, 1)]
            if bottleneck
            else [(width, 3, stride), (width, 3, 1)]
        )
        channels = in_channels
        for number, (out, kernel, step) in enumerate(chain, 1):
            conv = nn.Conv2d(channels, out, kernel, stride=step, padding=kernel // 2, bias=False)
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", nn.BatchNorm2d(out))
            channels = out
        self.length = len(chain)
        self.shortcut_name = ""
        if stride != 1 or in_channels != out_channels:
            self.shortcut_name = shortcut
            projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
            self.add_module(shortcut, nn.Sequential(projection, nn.BatchNorm2d(out_channels)))

    @property
    def last_bn(self) -> nn.BatchNorm2d:
        return getattr(self, f"bn{self.length}")

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for number in range(1, self.length + 1):
            if number > 1:
                out = F.relu(out, inplace=True)
            out = getattr(self, f"conv{number}")(out)
            out = getattr(self, f"bn{number}")(out)
        return out + (getattr(self, self.shortcut_name)(x) if self.shortcut_name else x)


class ResidualStage(nn.Sequential):
    """Residual blocks of one width, the first with the stage's stride."""

    def __init__(
        self, depth: int, in_channels: int, width: int, stride: int, *, bottleneck: bool = False, shortcut: str
    ) -> None:
        out_channels = width * 4 if bottleneck else width
        super().__init__(
            *(
                ResidualBlock(
                    in_channels if number == 0 else out_channels,
                    width,
                    stride if number == 0 else 1,
                    bottleneck=bottleneck,
                    shortcut=shortcut,
                )
                for number in range(depth)
            )
        )
        self.out_channels = out_channels

    @property
    def last_bn(self) -> nn.BatchNorm2d:
        """The batch norm before the stage's last addition."""
        block = self[-1]
        assert isinstance(block, ResidualBlock)
        return block.last_bn

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The stage's output, and the same before its last ReLU."""
        *inner, last = self
        for block in inner:
            x = F.relu(block(x), inplace=True)
        preact = last(x)
        return F.relu(preact), preact
