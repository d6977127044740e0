"""Intra- and inter-class distance: the one definition, computed exactly from class sums.

With ``u = z/‖z‖`` a pooled feature on the unit sphere, ``n_c`` the images of class c and
``μ_c = (1/n_c) Σ_{i ∈ c} u_i`` its mean (itself not normalised: a wide class has a short mean)::

    intra_c² = 1/(n_c (n_c − 1)) Σ_{i ≠ j ∈ c} ‖u_i − u_j‖²   two images of class c
    inter_c² = 1/(K − 1) Σ_{k ≠ c} ‖μ_c − μ_k‖²               class c's mean and another class's, K classes seen
    intra, inter = the means of intra_c and of inter_c over the classes that have one
    ratio = intra / inter

They are root-mean-square distances, because a mean of squares needs class sums alone: with
``S_c = Σ u_i`` and ``Q_c = Σ ‖u_i‖²``, ``Σ_{i ≠ j} ‖u_i − u_j‖² = 2 (n_c Q_c − ‖S_c‖²)``; for unit vectors
``intra_c² = 2 (1 − ‖μ_c‖²) n_c/(n_c − 1)``. So the epoch log and a report state the same figures, and
no table of pairs is ever built. All lie in [0, 2]; independent random directions have intra √2.

The paper's own d_Intra and d_Inter are known only in outline; this reading is ours [R]. A mean over n_c
images keeps some of their spread, about intra²/n_c of inter²: compare teachers on the same images.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mdistiller_icc import ranks
from mdistiller_icc.geometry.classes import listed, mean

RESOLUTION = 1e-6
"""Distances below this are rounding of float32 features, so nothing is divided by them."""


@dataclass(frozen=True)
class Distances:
    """Distances of one feature space as plain numbers; None where undefined (a class with too few images)."""

    intra: float | None
    inter: float | None
    ratio: float | None
    intra_per_class: list[float | None]
    inter_per_class: list[float | None]
    count: list[int]


class ClassSums:
    """Running class sums of normalised features, enough for every distance of this module.

    Cheap enough for every step: no synchronisation, and one row of D + 2 numbers per class whatever the
    number of images. ``sums`` (C, D + 2; None before the first batch) holds ``[S_c, Q_c, n_c]`` and is
    additive: those of several processes or shards may simply be added. It is float64 wherever the device
    has it, since a collapsed class is a difference of nearly equal numbers.

    >>> sums = ClassSums(num_classes=2)
    >>> sums.add(torch.tensor([[3.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), torch.tensor([0, 0, 1]))
    >>> round(sums.distances().intra, 4)
    1.4142
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.sums: Tensor | None = None

    @torch.no_grad()
    def add(self, features: Tensor, target: Tensor, kept: Tensor | None = None) -> None:
        """Add a batch: pooled ``features`` (B, D) of any float type, not normalised, and ``target`` (B,).

        Of all images, or of those that are ``kept``, bool (B,).
        """
        dtype = torch.float32 if features.device.type == "mps" else torch.float64
        unit = normalize(features.to(dtype), dim=1)
        rows = torch.cat([unit, unit.square().sum(1, keepdim=True), torch.ones_like(unit[:, :1])], dim=1)
        if kept is not None:
            rows = rows.where(kept.unsqueeze(1), 0.0)
        if self.sums is None:
            self.sums = rows.new_zeros(self.num_classes, rows.shape[1])
        self.sums.index_add_(0, target, rows)

    def gather(self) -> None:
        """Take in the images of all processes, some of which may have added none."""
        if ranks.world() > 1:
            every = ranks.of_all(None if self.sums is None else self.sums.cpu())
            held = [sums for sums in every if sums is not None]
            self.sums = torch.stack(held).sum(0) if held else None

    def reset(self) -> None:
        """Forget every image."""
        self.sums = None

    def distances(self) -> Distances:
        """Return the distances of all images added so far; waits for the device, so once an epoch."""
        sums = self.sums if self.sums is not None else torch.zeros(self.num_classes, 2)
        sums = sums.cpu().double()  # in this order: not every device knows float64
        total, square, count = sums[:, :-2], sums[:, -2], sums[:, -1]

        pairs = (count * (count - 1)).clamp(min=1)
        intra = (2 * (count * square - total.square().sum(1)).clamp(min=0) / pairs).sqrt()
        intra_per_class = listed(intra, count >= 2)

        seen = count > 0
        means = total / count.clamp(min=1).unsqueeze(1)
        # Around the centre c of the seen means, Σ_k ‖μ − μ_k‖² = K ‖μ − c‖² + Σ_k ‖μ_k − c‖²: no (C, C) table.
        seen_classes = int(seen.sum())
        centred = (means - means.sum(0) / max(seen_classes, 1)) * seen.unsqueeze(1)
        from_centre = centred.square().sum(1)
        inter = ((seen_classes * from_centre + from_centre.sum()) / max(seen_classes - 1, 1)).sqrt()
        inter_per_class = listed(inter, seen & (seen_classes >= 2))

        mean_intra, mean_inter = mean(intra_per_class), mean(inter_per_class)
        ratio = None
        if mean_intra is not None and mean_inter is not None and mean_inter > RESOLUTION:
            ratio = mean_intra / mean_inter
        return Distances(
            intra=mean_intra,
            inter=mean_inter,
            ratio=ratio,
            intra_per_class=intra_per_class,
            inter_per_class=inter_per_class,
            count=count.long().tolist(),
        )


def class_distances(features: Tensor, target: Tensor, num_classes: int) -> Distances:
    """Return the distances of pooled ``features`` (N, D), normalised here, with labels ``target`` (N,)."""
    sums = ClassSums(num_classes)
    sums.add(features, target)
    return sums.distances()
