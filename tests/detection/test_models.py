"""Detectors by name: their pyramids, what of them is trained, and the weights that they take."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn, maskrcnn_resnet50_fpn

from mdistiller_icc.detection import models
from mdistiller_icc.errors import UserError
from mdistiller_icc.teachers import checkpoint


@pytest.mark.parametrize("name", ["resnet18_fpn", "mobilenet_v2_fpn_mask"])
def test_a_pyramid_has_five_levels_of_strides_4_to_64(configured, name):
    detector = models.build(name, configured(), 4).eval()
    levels = detector.backbone(torch.zeros(1, 3, 128, 192))
    sizes = [tuple(level.shape[1:]) for level in levels.values()]
    assert sizes == [(32, 32, 48), (32, 16, 24), (32, 8, 12), (32, 4, 6), (32, 2, 3)]
    assert detector.roi_heads.box_predictor.cls_score.out_features == 5
    assert detector.roi_heads.has_mask() == models.has_masks(name)


@pytest.mark.parametrize(
    "name, trained, first",
    [
        ("resnet18_fpn", 3, "layer2"),
        ("resnet18_fpn", 5, "conv1"),
        ("mobilenet_v2_fpn", 2, "7"),
        ("mobilenet_v2_fpn", 5, "0"),
    ],
)
def test_the_deepest_stages_are_trained(configured, name, trained, first):
    detector = models.build(name, configured("DETECTION.TRAINABLE", str(trained)), 4)
    parts = list(dict.fromkeys(key.split(".")[0] for key, _ in detector.backbone.body.named_parameters()))
    learnt = {key.split(".")[0] for key, p in detector.backbone.body.named_parameters() if p.requires_grad}
    assert learnt == set(parts[parts.index(first) :])


def test_frozen_norms_have_no_weights_to_train(configured):
    frozen = models.build("resnet18_fpn", configured("DETECTION.NORM", "frozen"), 4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen.modules())


def test_a_checkpoint_says_its_form(configured, tmp_path):
    detector = models.build("mobilenet_v2_fpn_mask", configured(), 4)
    checkpoint.save({"model": detector.state_dict()}, tmp_path / "a.pth")
    other = configured("DETECTION.FPN_CHANNELS", "16", "DETECTION.BOX_WIDTH", "8", "DETECTION.NORM", "frozen")
    loaded = models.load("mobilenet_v2_fpn_mask", other, tmp_path / "a.pth", 4)
    for key, value in detector.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    with pytest.raises(UserError, match="not a checkpoint of resnet18_fpn"):
        models.load("resnet18_fpn", other, tmp_path / "a.pth", 4)


def test_a_backbone_begins_with_a_classifier_of_any_classes(configured, tmp_path):
    from torchvision.models import mobilenet_v2

    classifier = mobilenet_v2(num_classes=7)
    checkpoint.save(classifier.state_dict(), tmp_path / "a.pth")
    detector = models.build("mobilenet_v2_fpn", configured(), 4, begin=str(tmp_path / "a.pth"))
    assert torch.equal(detector.backbone.body["0"][0].weight, classifier.features[0][0].weight)
    with pytest.raises(UserError, match="not a checkpoint of resnet18"):
        models.build("resnet18_fpn", configured(), 4, begin=str(tmp_path / "a.pth"))


def test_rows_that_are_kept_say_what_they_said():
    make = dict(weights=None, weights_backbone=None, min_size=64)
    detector = fasterrcnn_mobilenet_v3_large_320_fpn(num_classes=6, **make).eval()
    feature = torch.randn(3, 1024)
    logits, boxes = detector.roi_heads.box_predictor(feature)
    kept_logits, kept_boxes = models.keep_rows(detector, [0, 2, 5]).roi_heads.box_predictor(feature)
    assert torch.allclose(kept_logits, logits[:, [0, 2, 5]], atol=1e-6)
    assert torch.allclose(kept_boxes.view(3, 3, 4), boxes.view(3, 6, 4)[:, [0, 2, 5]], atol=1e-6)


@pytest.mark.slow
def test_rows_of_masks_too():
    detector = maskrcnn_resnet50_fpn(num_classes=6, weights=None, weights_backbone=None).eval()
    feature = torch.randn(1, 256, 14, 14)
    masks = detector.roi_heads.mask_predictor(feature)
    assert torch.allclose(
        models.keep_rows(detector, [0, 3]).roi_heads.mask_predictor(feature), masks[:, [0, 3]], atol=1e-6
    )


def test_names_and_categories_that_are_none(configured):
    with pytest.raises(UserError, match=r"no detector 'resnet18_fnp' \(did you mean 'resnet18_fpn'\?\)"):
        models.check("resnet18_fnp", "DISTILLER.STUDENT")
    with pytest.raises(UserError, match="its weights are for COCO's categories, of which 'digit 0' is not the 10"):
        models.published("fasterrcnn_resnet50_fpn", configured(), [10], ["digit 0"])
