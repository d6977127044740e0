"""The learning rate of an epoch."""

from __future__ import annotations

import math

from yacs.config import CfgNode


def learning_rate(epoch: int, solver: CfgNode) -> float:
    """The learning rate of epoch ``epoch``, counted from 1, under ``SOLVER``.

    ``step``: times ``LR_DECAY_RATE`` after each of ``LR_DECAY_STAGES``, as mdistiller does.
    ``cosine``: from ``LR`` down to ``LR_MIN`` over all epochs, set once per epoch.

    >>> solver = CfgNode({"SCHEDULE": "step", "LR": 0.05, "LR_DECAY_STAGES": [150], "LR_DECAY_RATE": 0.1})
    >>> learning_rate(150, solver), round(learning_rate(151, solver), 6)
    (0.05, 0.005)
    """
    if solver.SCHEDULE == "step":
        return solver.LR * solver.LR_DECAY_RATE ** sum(epoch > stage for stage in solver.LR_DECAY_STAGES)
    if solver.SCHEDULE == "cosine":
        share = 0.5 * (1 + math.cos(math.pi * (epoch - 1) / solver.EPOCHS))
        return solver.LR_MIN + (solver.LR - solver.LR_MIN) * share
    raise ValueError(f"SOLVER.SCHEDULE {solver.SCHEDULE}: no such schedule")
