"""Look at what a network returns without leaving a trace in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mdistiller_icc.errors import UserError

REASON = 200
"""Letters of what torch says that a message has."""
FEATURES = "{'feats': [...], 'preact_feats': [...], 'pooled_feat': (B, D)}"


def probe(model: nn.Module, image_size: int) -> tuple[Tensor, dict[str, Any]]:
    """Run one grainy image through ``model`` and return its logits and features; see `checked` and `returned`.

    >>> logits, features = probe(resnet8(num_classes=10), image_size=32)     # doctest: +SKIP
    >>> features["pooled_feat"].shape                                        # doctest: +SKIP
    torch.Size([1, 64])
    """
    return checked(returned(model, image_size), type(model).__name__)


@torch.no_grad()
def returned(model: nn.Module, image_size: int) -> Any:
    """What ``model``, in eval mode, returns for one grainy image.

    Eval mode leaves batch-norm statistics alone, and no random number is drawn; the modes of the
    modules are put back as they were.

    Raises:
        UserError: it takes no images of that size.
    """
    modes = {module: module.training for module in model.modules()}
    parameter = next(model.parameters())
    grains = torch.arange(3 * image_size**2, dtype=torch.float64) * 0.618034 % 1 * 4 - 2
    image = grains.view(1, 3, image_size, image_size).to(parameter)
    model.eval()
    try:
        return model(image)
    except (RuntimeError, ValueError, AssertionError) as error:  # timm's networks assert a size
        reason = " ".join(str(error).split())[:REASON]
        size = f"{image_size}×{image_size}"
        raise UserError(f"{type(model).__name__} does not take images of {size} pixels ({reason})") from error
    finally:
        for module, mode in modes.items():
            module.training = mode


def checked(output: Any, network: str) -> tuple[Tensor, dict[str, Any]]:
    """What a network returned, if it is what this package and mdistiller expect of one.

    Raises:
        UserError: it is not, such as logits alone, which torchvision's networks return.
    """
    match output:
        case (Tensor() as logits, dict() as features) if logits.dim() == 2:
            return logits, features
    got = f"a tensor {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise UserError(f"{network}: its forward must return (logits (B, C), {FEATURES}), not {got}")
