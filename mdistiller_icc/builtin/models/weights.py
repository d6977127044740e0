"""How the networks' weights start out."""

from __future__ import annotations

from torch import nn


def he_fan_out(model: nn.Module) -> None:
    """Draw every convolution from N(0, 2 / (k² · out channels)) and zero its bias (He et al., 2015, eq. 14)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def small_linear(layer: nn.Linear) -> None:
    """Draw a classifier from N(0, 0.01²) and zero its bias."""
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
