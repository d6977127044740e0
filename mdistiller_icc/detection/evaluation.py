"""How well a detector does, as pycocotools measures it: the average precision of its boxes and masks."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mdistiller_icc import ranks
from mdistiller_icc.detection.coco import Coco
from mdistiller_icc.detection.loaders import EvaluationLoader
from mdistiller_icc.engine.precision import autocast
from mdistiller_icc.errors import UserError
from mdistiller_icc.tables.metrics import AP

KINDS = {"box": "bbox", "mask": "segm"}
"""What is measured of a detector, and pycocotools' name for it."""


def needed() -> None:
    """Look at whether pycocotools is there.

    Raises:
        UserError: it is not.
    """
    if importlib.util.find_spec("pycocotools") is None:
        raise UserError("detectors need pycocotools: pip install 'mdistiller_icc[detection]'")


def evaluate(
    detector: nn.Module,
    loader: EvaluationLoader,
    device: torch.device,
    precision: str = "fp32",
    masks: bool = False,
    seen: Callable[[], None] = lambda: None,
) -> dict[str, float | None]:
    """AP, AP50, AP75 and AP of small, medium and large objects, in percent; None where there is no such object.

    Of several processes each looks at its share of the images, and all know the figures.

    Args:
        detector: a detector of torchvision.
        loader: the test images.
        device: where they go.
        precision: ``fp32`` or ``bf16``.
        masks: measure the masks too.
        seen: called after each image.

    Returns:
        The figures under the names of `tables.metrics.AP`: ``box_ap``, ``box_ap50``, …
    """
    training = detector.training
    detector.eval()
    found = [
        one for own in ranks.of_all(list(detections(detector, loader, device, precision, masks, seen))) for one in own
    ]
    detector.train(training)
    return ranks.from_first(lambda: figures(loader.data, found, masks))


@torch.no_grad()
def detections(
    detector: nn.Module,
    loader: EvaluationLoader,
    device: torch.device,
    precision: str = "fp32",
    masks: bool = False,
    seen: Callable[[], None] = lambda: None,
) -> Iterator[dict[str, Any]]:
    """What the detector finds, in COCO's form of results."""
    for image, number in loader:
        with autocast(precision, device):
            (found,) = detector([image.to(device)])
        boxes, labels, scores = (found[key].float().cpu() for key in ("boxes", "labels", "scores"))
        shapes = _run_lengths(found["masks"]) if masks else [None] * len(boxes)
        boxes[:, 2:] -= boxes[:, :2]
        rows = zip(boxes.tolist(), labels.long().tolist(), scores.tolist(), shapes, strict=True)
        for box, label, score, shape in rows:
            category = loader.data.categories[label - 1]
            result = {"image_id": number, "category_id": category, "bbox": box, "score": score}
            yield result if shape is None else {**result, "segmentation": shape}
        seen()


def figures(data: Coco, found: list[dict[str, Any]], masks: bool) -> dict[str, float | None]:
    """pycocotools' figures of such results, in percent."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    figures: dict[str, float | None] = {}
    with contextlib.redirect_stdout(io.StringIO()):  # it tells how far it is
        truth = COCO()
        truth.dataset = data.content
        truth.createIndex()
        for kind, theirs in KINDS.items():
            if kind == "mask" and not masks:
                continue
            names = [name for name in AP if name.startswith(kind)]
            if not found:
                figures |= dict.fromkeys(names, 0.0)
                continue
            # Of boxes alone it would take the area, which it sorts by size, from the box; of masks from the mask.
            keys = {"image_id", "category_id", "score", "segmentation" if kind == "mask" else "bbox"}
            results = [{key: value for key, value in one.items() if key in keys} for one in found]
            measured = COCOeval(truth, truth.loadRes(results), theirs)
            measured.evaluate()
            measured.accumulate()
            measured.summarize()
            values = (float(value) for value in measured.stats[:6])
            figures |= {name: 100 * value if value >= 0 else None for name, value in zip(names, values, strict=True)}
    return figures


def _run_lengths(masks: Tensor) -> list[dict[str, Any]]:
    """Masks (N, 1, H, W) of probabilities as COCO's run lengths."""
    from pycocotools import mask

    filled = (masks[:, 0] > 0.5).to(torch.uint8).cpu().numpy()
    coded = [mask.encode(np.asfortranarray(one)) for one in filled]
    return [{"size": one["size"], "counts": one["counts"].decode()} for one in coded]
