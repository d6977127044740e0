"""One pass over the images: every teacher's pooled features and logits, in eval mode, without gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mdistiller_icc.errors import UserError


@dataclass(frozen=True)
class Outputs:
    """What one teacher says of N images: ``features`` (N, D), ``logits`` (N, C), ``target`` (N,), on the CPU."""

    features: Tensor
    logits: Tensor
    target: Tensor


@torch.no_grad()
def outputs_of(
    models: Mapping[str, nn.Module], loader: Iterable[Sequence[Tensor]], device: torch.device | str
) -> dict[str, Outputs]:
    """Show every model the same images once and return its outputs by name.

    All models see each batch together, so they are compared on the same images even where the loader
    shuffles or augments. Models are moved to ``device`` and left in the mode they came in.

    Args:
        models: networks that return ``(logits, {"pooled_feat": (B, D), …})``, by the name to show.
        loader: batches that begin with image and target.
        device: where to compute.

    Raises:
        UserError: there is no image, or a model's outputs are not finite.
    """
    modes = {module: module.training for model in models.values() for module in model.modules()}
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in models}
    targets: list[Tensor] = []
    try:
        for model in models.values():
            model.to(device).eval()
        for image, target, *_ in loader:
            image = image.to(device)
            targets.append(target.cpu())
            for name, model in models.items():
                logits, features = model(image)
                seen[name].append((features["pooled_feat"].flatten(1).float().cpu(), logits.float().cpu()))
    finally:
        for module, mode in modes.items():
            module.training = mode
    if not targets:
        raise UserError("nothing to analyse: the data set has no images in this split")
    target = torch.cat(targets)
    outputs = {}
    for name, batches in seen.items():
        features, logits = (torch.cat(parts) for parts in zip(*batches, strict=True))
        if not (features.isfinite().all() and logits.isfinite().all()):
            raise UserError(f"{name}: its features or logits are not finite numbers, so its training diverged")
        outputs[name] = Outputs(features, logits, target)
    return outputs
