"""Choose the images a picture shows, and lay their features out in the plane."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mdistiller_icc.errors import UserError
from mdistiller_icc.geometry.distances import RESOLUTION
from mdistiller_icc.geometry.extra import analysis_extra

FEWEST = 5
"""Images below which a layout says nothing."""


def pick(target: Tensor, classes: int, images: int, seed: int = 0) -> Tensor:
    """Return the positions, ascending, of at most ``images`` samples from at most ``classes`` classes.

    The classes are spread evenly over the class numbers and share the images evenly; the choice depends on
    ``target`` and ``seed`` alone, so every teacher is shown on the same images.

    >>> pick(torch.tensor([0, 0, 1, 2, 2]), classes=2, images=4)
    tensor([0, 1, 3, 4])
    """
    present = target.unique()
    chosen = present[torch.linspace(0, len(present) - 1, min(classes, len(present))).round().long()]
    each = max(images // max(len(chosen), 1), 1)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(target), generator=generator)
    parts = [order[target[order] == label][:each] for label in chosen]
    return torch.cat([order[:0], *parts]).sort().values[:images]


def embed(features: Tensor, seed: int = 0) -> Tensor:
    """Return the t-SNE layout (N, 2) of L2-normalised ``features`` (N, D): PCA start, fixed seed.

    t-SNE keeps neighbourhoods, not distances: how far apart or how large clusters look is no
    measurement. A feature space collapsed to one point is laid out as one point.

    Raises:
        UserError: scikit-learn is missing, or there are fewer than 5 images.
    """
    with analysis_extra():
        from sklearn.manifold import TSNE
    count = len(features)
    if count < FEWEST:
        raise UserError(f"a t-SNE picture needs at least {FEWEST} images, got {count}")
    unit = normalize(features.double(), dim=1)
    if (unit - unit.mean(0)).abs().max() < RESOLUTION:
        return torch.zeros(count, 2)
    if unit.shape[1] == 1:
        unit = torch.cat([unit, torch.zeros_like(unit)], dim=1)
    layout = TSNE(init="pca", perplexity=min(30.0, (count - 1) / 3), random_state=seed)
    return torch.from_numpy(layout.fit_transform(unit.numpy())).float()
