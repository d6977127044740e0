"""The settings of the ICC recipe. λ and what it is averaged over were chosen on held-out images: docs/icc.md."""

from __future__ import annotations

from yacs.config import CfgNode

from mdistiller_icc.errors import UserError
from mdistiller_icc.icc.positive import POSITIVES
from mdistiller_icc.icc.queue import POLICIES
from mdistiller_icc.settings import Setting, Settings, count, temperature, weight

SETTINGS: Settings = {
    "WEIGHT": weight(0.1, "L_Intra, λ"),
    "WEIGHT_MODE": Setting(
        "fixed", "fixed: λ is WEIGHT; gradnorm: it follows from GRADNORM.SHARE.", choices=("fixed", "gradnorm")
    ),
    "GRADNORM": {
        "SHARE": Setting(0.1, "Share of cross-entropy's gradient that L_Intra's is to have.", least=0, most=1000)
    },
    "MARGIN": Setting(0.3, "Margin δ that a sample's must be above to take part.", least=-1, most=1),
    "SIMILARITY": Setting("dot", "How features are compared.", choices=("dot", "cosine")),
    "TEMPERATURE": temperature(1.0, "Temperature that similarities are divided by, τ."),
    "REDUCTION": Setting("batch", "What L_Intra is averaged over.", choices=("anchors", "batch")),
    "POSITIVE": Setting("view", "Where an anchor's second view comes from.", choices=tuple(POSITIVES)),
    "QUEUE": {
        "SIZE": count(8, "Negatives of each class, n.", most=65536),
        "POLICY": Setting("clear", "What becomes of a full queue that was met.", choices=tuple(POLICIES)),
    },
    "FEATURE": Setting("pooled_feat", "The feature: pooled_feat, logits, or one such as feats.2."),
    "WARMUP": count(0, "Epochs of plain training at the beginning.", least=0, most=10**6),
}
PLAIN = "ICC.WEIGHT 0: this is plain training, under the name of ICC"
"""What is told of a recipe that is turned off."""
WITH_ANCHORS = {"fixed": 0.03, "gradnorm": 0.1}
"""Up to which λ [B: the paper's], or share of `gradnorm`, a setting is meant for the mean over the anchors [R]."""


def weak(node: CfgNode) -> str | None:
    """A line on a weight that is meant for the mean over the anchors and stands with that over the batch.

    There an anchor weighs 1/(n + 1) of it or less under ``clear``, so the recipe would do little.
    """
    key, weight = "ICC.WEIGHT", node.WEIGHT
    if node.WEIGHT_MODE == "gradnorm":
        key, weight = "ICC.GRADNORM.SHARE", node.GRADNORM.SHARE
    if node.REDUCTION != "batch" or node.QUEUE.POLICY != "clear" or not 0 < weight <= WITH_ANCHORS[node.WEIGHT_MODE]:
        return None
    return (
        f"{key} {weight:g} is for ICC.REDUCTION anchors: over the batch an anchor weighs a fraction of that, "
        f"at most 1/{node.QUEUE.SIZE + 1}, and the recipe does little"
    )


def check(cfg: CfgNode) -> None:
    """Look at how the settings of the node ``ICC`` fit together.

    Raises:
        UserError: gradients cannot be compared at the feature, or every epoch is one of warm-up.
    """
    node, epochs = cfg.ICC, cfg.SOLVER.EPOCHS
    if 0 < node.WARMUP >= epochs:
        raise UserError(f"ICC.WARMUP {node.WARMUP} of SOLVER.EPOCHS {epochs}: ICC would never begin")
    if node.WEIGHT_MODE == "gradnorm" and node.FEATURE not in ("pooled_feat", "logits"):
        raise UserError(f"ICC.WEIGHT_MODE gradnorm compares gradients at pooled_feat or logits, not '{node.FEATURE}'")
