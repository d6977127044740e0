"""The inverted residual block of MobileNetV2 (Sandler et al., 2018, Table 1)."""

from __future__ import annotations

from torch import Tensor, nn


class InvertedResidual(nn.Module):
    """Widen (1×1), filter each channel (3×3), narrow without a ReLU (1×1); added to the input where shapes agree.

    Args:
        in_channels: channels of the input; out_channels: of the output.
        stride: of the 3×3 convolution.
        expansion: how many times wider it is inside.
        name: of the chain in the state dict.
        bias: give the convolutions a bias.
        activation: ``nn.ReLU`` or ``nn.ReLU6``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        expansion: int,
        *,
        name: str,
        bias: bool,
        activation: type[nn.Module],
    ) -> None:
        super().__init__()
        inside = in_channels * expansion
        chain = nn.Sequential(
            nn.Conv2d(in_channels, inside, 1, bias=bias),
            nn.BatchNorm2d(inside),
            activation(inplace=True),
            nn.Conv2d(inside, inside, 3, stride=stride, padding=1, groups=inside, bias=bias),
            nn.BatchNorm2d(inside),
            activation(inplace=True),
            nn.Conv2d(inside, out_channels, 1, bias=bias),
            nn.BatchNorm2d(out_channels),
        )
        self.add_module(name, chain)
        self.name = name
        self.adds_input = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        out = getattr(self, self.name)(x)
        return out + x if self.adds_input else out
