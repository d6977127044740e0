"""What is watched of the ICC recipe while it trains: the figures of an epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from mdistiller_icc.epoch_means import EpochMeans
from mdistiller_icc.geometry.distances import ClassSums
from mdistiller_icc.losses.precision import widened

SHARE_EVERY = 4
"""Steps between two looks at the gradients, where λ does not depend on them."""
UNMEASURED = {
    "icc/passed": 0.0,
    "icc/anchors": 0.0,
    "icc/loss_intra": 0.0,
    "icc/weight": 0.0,
    "icc/gradient_share": None,
    "icc/feature_norm": None,
}
"""What an epoch says of a figure that nothing was measured for."""


class Watch:
    """Collects an epoch's figures on the device; nothing is read back before `figures`."""

    def __init__(self, num_classes: int) -> None:
        self.means = EpochMeans()
        self.class_sums = ClassSums(num_classes)
        self.steps = 0

    @property
    def share_is_due(self) -> bool:
        """Whether this step's gradients are to be looked at."""
        return self.steps % SHARE_EVERY == SHARE_EVERY - 1

    @torch.no_grad()
    def step(
        self,
        feature: Tensor,
        target: Tensor,
        passed: Tensor,
        loss_per_anchor: Tensor,
        valid: Tensor,
        weight: Tensor,
        pulls: Tensor | None,
    ) -> None:
        """Add a step: the batch's features z ``(B, D)`` and classes ``(B,)``, and what `ICC.losses` made of them.

        What is not finite is left out, as the engine may leave out the step.
        """
        self.steps += 1
        length, told = widened(feature).norm(dim=1), loss_per_anchor.isfinite()
        whole = length.isfinite()
        anchors = valid.any(1).sum()
        self.means.add("icc/passed", passed.sum(), len(target))
        self.means.add("icc/anchors", anchors, len(target))
        self.means.add("icc/loss_intra", loss_per_anchor.where(told, 0.0).sum(), anchors - (~told).sum())
        self.means.add("icc/weight", weight, 1)
        self.means.add("icc/feature_norm", length.where(whole, 0.0).sum(), whole.sum())
        if pulls is not None:
            of_ce, of_intra = pulls
            counts = pulls.isfinite().all() & (of_intra > 0)  # of steps with anchors
            self.means.add("icc/gradient_share", (weight * of_intra).where(counts, 0.0), of_ce.where(counts, 0.0))
        self.class_sums.add(feature, target, whole)

    def figures(self) -> dict[str, float | None]:
        """What happened since last asked, on all processes, under names that begin with ``icc/``.

        Shares of samples that passed the gate and were anchors, L_Intra of the anchors, λ, what share of a
        sample's cross-entropy gradient an anchor's λ·L_Intra has at the feature, the features' mean length, and
        their intra-class and inter-class distance and the ratio of the two.
        """
        self.class_sums.gather()
        means, distances = self.means.read(), self.class_sums.distances()
        self.class_sums.reset()
        self.steps = 0  # so that a resumed run measures at the same steps
        if not means.get("icc/gradient_share"):  # no anchor at any step that was looked at
            means.pop("icc/gradient_share", None)
        return UNMEASURED | means | {
            "icc/intra": distances.intra, "icc/inter": distances.inter, "icc/ratio": distances.ratio
        }  # fmt: skip
