"""Average precisions are pycocotools', called by hand on the same results."""

from __future__ import annotations

import contextlib
import io
import json

import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn

from mdistiller_icc.detection import models
from mdistiller_icc.detection.coco import Coco
from mdistiller_icc.detection.evaluation import detections, evaluate, figures
from mdistiller_icc.detection.loaders import EvaluationLoader
from mdistiller_icc.tables.metrics import AP

CPU = torch.device("cpu")


@pytest.fixture
def loader(pasted):
    return EvaluationLoader(Coco(pasted / "annotations" / "val.json", pasted / "val", masks=True), workers=0)


class Knowing(nn.Module):
    """A detector that finds what was pasted, moved by some pixels, less sure from object to object."""

    def __init__(self, data: Coco, moved: int) -> None:
        super().__init__()
        self.pictures, self.moved = iter(data.pictures), moved

    def forward(self, images):
        picture = next(self.pictures)
        boxes = torch.from_numpy(picture.boxes) + self.moved
        masks = torch.zeros(len(boxes), 1, *images[0].shape[1:])
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.long().tolist(), strict=True):
            mask[0, y1:y2, x1:x2] = 0.9
        scores = torch.linspace(0.9, 0.2, len(boxes))
        return [{"boxes": boxes, "labels": torch.from_numpy(picture.labels), "scores": scores, "masks": masks}]


def by_hand(file, results, kind, tmp_path):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(file))
        (tmp_path / "results.json").write_text(json.dumps(results))
        measured = COCOeval(truth, truth.loadRes(str(tmp_path / "results.json")), kind)
        measured.evaluate(), measured.accumulate(), measured.summarize()
    return measured.stats


@pytest.mark.parametrize("moved", [0, 3, 9])
def test_figures_are_pycocotools_by_hand(loader, moved, tmp_path):
    data = loader.data
    found = list(detections(Knowing(data, moved), loader, CPU, masks=True))
    told = evaluate(Knowing(data, moved), loader, CPU, masks=True)
    assert list(told) == list(AP)
    for kind, theirs in (("box", "bbox"), ("mask", "segm")):
        keys = ("image_id", "category_id", "score", "segmentation" if kind == "mask" else "bbox")
        stats = by_hand(data.file, [{key: one[key] for key in keys} for one in found], theirs, tmp_path)
        own = [told[name] for name in AP if name.startswith(kind)]
        assert own == [100 * value if value >= 0 else None for value in stats[:6]]
    assert told["box_ap"] == (100 if moved == 0 else pytest.approx(told["box_ap"], abs=1e-9))
    assert (moved == 0) == (told["box_ap"] > 99.9) and (moved == 9) == (told["box_ap50"] < 50)


def test_a_real_detector_measured_by_hand(configured, loader, tmp_path):
    torch.manual_seed(0)
    detector = models.build("mobilenet_v2_fpn_mask", configured(), 4)
    detector.roi_heads.score_thresh = 0.0  # it is untrained
    detector.train()
    told = evaluate(detector, loader, CPU, masks=True)
    assert detector.training
    found = list(detections(detector.eval(), loader, CPU, masks=True))
    assert len(found) > 100 and all(one["category_id"] in (10, 20, 30, 40) for one in found)
    results = [{key: value for key, value in one.items() if key != "segmentation"} for one in found]
    assert told["box_ap"] == 100 * by_hand(loader.data.file, results, "bbox", tmp_path)[0]


def test_nothing_found_is_0_and_no_such_object_is_none(loader):
    assert figures(loader.data, [], masks=False) == dict.fromkeys(list(AP)[:6], 0.0)
    told = evaluate(Knowing(loader.data, 0), loader, CPU)
    assert told["box_ap_large"] is None and told["box_ap_medium"] == 100  # none is larger than 96 × 96
