"""The ways an ICC teacher goes wrong, recognised while it trains and told in one line each."""

from __future__ import annotations

import math
from typing import Any

# Unit features closer together than this, over all classes, are one point.
POINT = 0.1
# Epochs over which cross-entropy must have fallen, and by what share of itself.
STALL_EPOCHS, STALL_SHARE = 4, 0.05
# Points of training accuracy lost since the best epoch that no ordinary epoch loses.
EROSION_POINTS = 10.0
# A gradient of L_Intra this large beside cross-entropy's is no longer a regulariser's.
LARGE_SHARE = 0.5
QUEUE_GIBIBYTES = 1.0
# Features this many times as long as in the first epoch are no longer those of a network that learns to classify.
RUNAWAY = 10.0


class Signatures:
    """Recognises the failure signatures of ICC in the figures of the epochs.

    (1) mode collapse, (2) convergence stall, (3) inter-class erosion, (4) queues too large for their use: named
    by a report on the paper [C]; (5) runaway features: ours [R], as dot products of features have no bound. How each
    is measured here is our reading [R]. Each is told once, when it begins, and again if it comes back; training
    goes on.

    Args:
        num_classes: C, for the loss of pure guessing, log C.
        queue_bytes: what the class queues take.
    """

    def __init__(self, num_classes: int, queue_bytes: int) -> None:
        self.num_classes = num_classes
        self.queue_bytes = queue_bytes
        self.history: list[dict[str, Any]] = []
        self.since: dict[str, int] = {}

    def see(self, figures: dict[str, Any]) -> list[str]:
        """Take an epoch's figures and return what has begun to go wrong.

        Args:
            figures: ``epoch``, ``loss_ce``, ``train_top1`` in percent, and ICC's ``icc/intra``, ``icc/inter``,
                ``icc/passed``, ``icc/gradient_share``, ``icc/weight``, ``icc/feature_norm``.
        """
        self.history.append(figures)
        told = []
        for name, what in (
            ("collapse", self._collapse()),
            ("stall", self._stall()),
            ("erosion", self._erosion()),
            ("queues", self._queues()),
            ("runaway", self._runaway()),
        ):
            if what is None:
                self.since.pop(name, None)
            elif name not in self.since:
                self.since[name] = figures["epoch"]
                told.append(f"since epoch {figures['epoch']}: {what}")
        return told

    def _collapse(self) -> str | None:
        now = self.history[-1]
        if len(self.history) < 2 or now["icc/intra"] is None or now["icc/inter"] is None:
            return None
        if max(now["icc/intra"], now["icc/inter"]) > POINT:
            return None
        return (
            f"mode collapse: all features lie within {max(now['icc/intra'], now['icc/inter']):.3f} of each other; "
            "try a smaller ICC.WEIGHT, a larger ICC.MARGIN or ICC.WARMUP"
        )

    def _stall(self) -> str | None:
        losses = [epoch["loss_ce"] for epoch in self.history[-STALL_EPOCHS:]]
        now = self.history[-1]
        if len(losses) < STALL_EPOCHS or None in losses or now["icc/passed"] == 0:
            return None
        guess = math.log(self.num_classes)
        if losses[-1] < 0.5 * guess or min(losses) < (1 - STALL_SHARE) * losses[0]:
            return None
        return (
            f"convergence stall: cross-entropy, at {losses[-1]:.3f}, has not fallen for {STALL_EPOCHS} epochs "
            f"(guessing gives {guess:.3f}) while {100 * now['icc/passed']:.0f} % of the samples pass the gate; "
            "try a larger ICC.MARGIN or ICC.WARMUP"
        )

    def _erosion(self) -> str | None:
        best = max(epoch["train_top1"] for epoch in self.history)
        now, share = self.history[-1]["train_top1"], self.history[-1]["icc/gradient_share"]
        if share is None or share < LARGE_SHARE or best - now < EROSION_POINTS:
            return None
        return (
            f"inter-class erosion: training accuracy fell from {best:.1f} to {now:.1f} % while an anchor's pull is "
            f"{share:.1f} times cross-entropy's; try a smaller ICC.WEIGHT or ICC.WEIGHT_MODE gradnorm"
        )

    def _queues(self) -> str | None:
        size = self.queue_bytes / 2**30
        if size <= QUEUE_GIBIBYTES:
            return None
        return f"the class queues take {size:.1f} GiB; try a smaller ICC.QUEUE.SIZE"

    def _runaway(self) -> str | None:
        lengths = [epoch["icc/feature_norm"] for epoch in self.history if epoch.get("icc/feature_norm")]
        if not lengths or lengths[-1] <= RUNAWAY * lengths[0]:
            return None
        return (
            f"runaway features: their length is {lengths[-1]:.0f} and was {lengths[0]:.1f} in the first epoch; "
            "try a smaller ICC.WEIGHT, a larger ICC.MARGIN, ICC.WEIGHT_MODE gradnorm or ICC.SIMILARITY cosine"
        )
