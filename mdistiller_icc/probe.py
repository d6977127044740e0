"""Look at what a network returns without leaving a trace in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def probe(model: nn.Module, image_size: int) -> tuple[Tensor, dict[str, Any]]:
    """Run one grainy image through ``model`` in eval mode and return its logits and features.

    Eval mode leaves batch-norm statistics alone, and no random number is drawn; the modes of the
    modules are put back as they were.

    >>> logits, features = probe(resnet8(num_classes=10), image_size=32)     # doctest: +SKIP
    >>> features["pooled_feat"].shape                                        # doctest: +SKIP
    torch.Size([1, 64])
    """
    modes = {module: module.training for module in model.modules()}
    parameter = next(model.parameters())
    grains = torch.arange(3 * image_size**2, dtype=torch.float64) * 0.618034 % 1 * 4 - 2
    image = grains.view(1, 3, image_size, image_size).to(parameter)
    model.eval()
    try:
        return model(image)
    finally:
        for module, mode in modes.items():
            module.training = mode
