"""What networks are measured by: the names of records, and those of tables."""

from __future__ import annotations

_AP = {
    "ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_small": "APs", "ap_medium": "APm", "ap_large": "APl",
}  # fmt: skip
AP = {f"{kind}_{name}": f"{kind} {shown}" for kind in ("box", "mask") for name, shown in _AP.items()}
"""Of detectors: COCO's average precisions of boxes and masks."""
METRICS = {"top1": "top-1 accuracy", "top5": "top-5 accuracy", **AP}
