"""The settings of the ICC recipe: their defaults and their ranges."""

from __future__ import annotations

from yacs.config import CfgNode

from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.icc.positive import POSITIVES
from mdistiller_icc.icc.queue import POLICIES


def defaults() -> CfgNode:
    """λ [B: 0.01 to 0.03]; δ and n are unknown, the rest are our readings: docs/icc.md says why."""
    return CfgNode(
        {
            "WEIGHT": 0.02,
            "WEIGHT_MODE": "fixed",
            "GRADNORM": {"SHARE": 0.1},
            "MARGIN": 0.3,
            "SIMILARITY": "dot",
            "TEMPERATURE": 1.0,
            "REDUCTION": "anchors",
            "POSITIVE": "view",
            "QUEUE": {"SIZE": 8, "POLICY": "clear"},
            "FEATURE": "pooled_feat",
            "WARMUP": 0,
        }
    )


def check(node: CfgNode) -> CfgNode:
    """Return the node ``ICC`` if every setting is in range.

    Raises:
        UserError: naming the first that is not.
    """
    for key, value, choices in (
        ("POSITIVE", node.POSITIVE, tuple(POSITIVES)),
        ("QUEUE.POLICY", node.QUEUE.POLICY, POLICIES),
        ("SIMILARITY", node.SIMILARITY, ("dot", "cosine")),
        ("REDUCTION", node.REDUCTION, ("anchors", "batch")),
        ("WEIGHT_MODE", node.WEIGHT_MODE, ("fixed", "gradnorm")),
    ):
        if value not in choices:
            raise UserError(f"ICC.{key} is one of {', '.join(choices)}, not '{value}'{nearest(value, choices)}")
    if node.WEIGHT_MODE == "gradnorm" and node.FEATURE not in ("pooled_feat", "logits"):
        raise UserError(f"ICC.WEIGHT_MODE gradnorm compares gradients at pooled_feat or logits, not {node.FEATURE}")
    for key, value, wanted, right in (
        ("WEIGHT", node.WEIGHT, "at least 0", node.WEIGHT >= 0),
        ("MARGIN", node.MARGIN, "between -1 and 1", -1 <= node.MARGIN <= 1),
        ("TEMPERATURE", node.TEMPERATURE, "above 0", node.TEMPERATURE > 0),
        ("QUEUE.SIZE", node.QUEUE.SIZE, "at least 1", node.QUEUE.SIZE >= 1),
        ("WARMUP", node.WARMUP, "at least 0", node.WARMUP >= 0),
        ("GRADNORM.SHARE", node.GRADNORM.SHARE, "at least 0", node.GRADNORM.SHARE >= 0),
    ):
        if not right:
            raise UserError(f"ICC.{key} must be {wanted}, not {value}")
    return node
