"""Detectors by name: torchvision's own, and Faster and Mask R-CNN with a feature pyramid on any ResNet or MobileNetV2.

``resnet18_fpn`` is a Faster R-CNN, ``resnet18_fpn_mask`` a Mask R-CNN; ``fasterrcnn_resnet50_fpn_v2`` and the like are
torchvision's. All give five levels, p2 to p6, but for those that torchvision made with fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import detection, get_model, get_model_weights
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops.misc import FrozenBatchNorm2d
from yacs.config import CfgNode

from mdistiller_icc.detection.draws import by_number
from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.teachers import checkpoint, pretrained, weights

PYRAMID, MASK = "_fpn", "_mask"
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d")
OWN = tuple(f"{body}{PYRAMID}{kind}" for body in (*RESNETS, "mobilenet_v2") for kind in ("", MASK))
TORCHVISIONS = (
    "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn", "maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2",
)  # fmt: skip
NAMES = (*OWN, *TORCHVISIONS)
BEGINNINGS = dict(imagenet="IMAGENET1K_V1", none=None)
"""What a backbone may begin with beside a file, as torchvision calls it."""
STAGES = {
    "resnet": (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)),
    "mobilenet": (range(2), range(2, 4), range(4, 7), range(7, 14), range(14, 18)),
}
"""The five stages of a backbone, of which the last four make the pyramid's levels: strides 4, 8, 16 and 32."""


@dataclass(frozen=True)
class Sizes:
    """What of a detector's form its name does not say."""

    channels: int
    box_width: int
    mask_width: int
    batch_norm: bool

    @classmethod
    def of(cls, node: CfgNode) -> Sizes:
        """As the node ``DETECTION`` has it."""
        return cls(node.FPN_CHANNELS, node.BOX_WIDTH, node.MASK_WIDTH, node.NORM == "batch")

    @classmethod
    def told_by(cls, content: Any, otherwise: Sizes) -> Sizes:
        """As a checkpoint's weights have it; what they do not tell is as said."""
        shapes = dict(_shapes(content))

        def first(end: str, axis: int, default: int) -> int:
            return next((shape[axis] for key, shape in shapes.items() if key.endswith(end)), default)

        return cls(
            first("backbone.fpn.inner_blocks.0.0.weight", 0, otherwise.channels),
            first("roi_heads.box_head.fc6.weight", 0, otherwise.box_width),
            first("roi_heads.mask_head.0.0.weight", 0, otherwise.mask_width),
            any("backbone.body" in key and key.endswith("num_batches_tracked") for key in shapes),
        )


def check(name: str, key: str) -> str:
    """The name of a detector.

    Raises:
        UserError: there is none of that name.
    """
    if name not in NAMES:
        raise UserError(f"{key}: no detector '{name}'{nearest(name, NAMES)}; there are {', '.join(NAMES)}")
    return name


def has_masks(name: str) -> bool:
    """Whether the detector of that name segments objects too."""
    return name.endswith(MASK) or name.startswith("maskrcnn")


def build(
    name: str, cfg: CfgNode, num_classes: int, sizes: Sizes | None = None, begin: str = "none"
) -> GeneralizedRCNN:
    """The detector called ``name``, of which nothing but the backbone may have been trained.

    Args:
        cfg: reads ``DETECTION``, ``DATASET.MEAN`` and ``DATASET.STD``.
        num_classes: beside the background, whose logit is the first.
        sizes: of the networks of ours; None as ``cfg`` has them.
        begin: the backbone's weights: ``imagenet``, ``none``, or a file.

    Raises:
        UserError: the backbone's weights are not there, or another network's.
    """
    node = cfg.DETECTION
    given: dict[str, Any] = {
        "min_size": tuple(node.MIN_SIZE),
        "max_size": node.MAX_SIZE,
        "rpn_post_nms_top_n_train": node.RPN_KEPT,
        "box_batch_size_per_image": node.PROPOSALS,
        "image_mean": cfg.DATASET.MEAN,
        "image_std": cfg.DATASET.STD,
    }
    if name in TORCHVISIONS:
        if begin not in BEGINNINGS:
            raise UserError(f"DETECTION.BACKBONE {begin}: {name} takes torchvision's backbone alone: imagenet or none")
        given |= {"trainable_backbone_layers": node.TRAINABLE} if BEGINNINGS[begin] else {}
        make = partial(getattr(detection, name), weights=None, num_classes=num_classes + 1, **given)
        return by_number(_begun(lambda chosen: make(weights_backbone=chosen), name, begin))
    body, _, kind = name.partition(PYRAMID)
    sizes = sizes or Sizes.of(node)
    backbone = _backbone(body, sizes, begin, node.TRAINABLE)
    anchors = AnchorGenerator(tuple((size,) for size in node.ANCHORS), ((0.5, 1.0, 2.0),) * len(node.ANCHORS))
    given |= {
        "rpn_anchor_generator": anchors,
        "box_head": TwoMLPHead(sizes.channels * 7**2, sizes.box_width),
        "box_predictor": FastRCNNPredictor(sizes.box_width, num_classes + 1),
    }
    if kind == MASK:
        width = sizes.mask_width
        given |= {
            "mask_head": MaskRCNNHeads(sizes.channels, (width,) * 4, 1),
            "mask_predictor": MaskRCNNPredictor(width, width, num_classes + 1),
        }
        return by_number(detection.MaskRCNN(backbone, **given))
    return by_number(detection.FasterRCNN(backbone, **given))


def load(name: str, cfg: CfgNode, file: str | Path, num_classes: int) -> GeneralizedRCNN:
    """The detector called ``name`` with the weights of a checkpoint, whose form is the checkpoint's.

    Raises:
        UserError: the file is not one of it.
    """
    content = checkpoint.read(file)
    detector = build(name, cfg, num_classes, Sizes.told_by(content, Sizes.of(cfg.DETECTION)))
    weights.load_into(detector, content, file, name)
    return detector


def published(name: str, cfg: CfgNode, categories: Sequence[int], classes: Sequence[str]) -> GeneralizedRCNN:
    """torchvision's detector with the weights that it was published with, trained on COCO.

    It has a logit for each of COCO's 91 ids; those of ``categories`` stay.

    Raises:
        UserError: the categories are not COCO's, or the weights cannot be downloaded.
    """
    known = get_model_weights(name).DEFAULT.meta["categories"]
    for number, called in zip(categories, classes, strict=True):
        if not 0 <= number < len(known) or known[number] != called:
            raise UserError(
                f"DISTILLER.TEACHER {name}: its weights are for COCO's categories, of which '{called}' is not the "
                f"{number}; name a file with DISTILLER.TEACHER_CKPT"
            )
    node = cfg.DETECTION

    def make(pretrained: bool) -> GeneralizedRCNN:
        factory = getattr(detection, name)
        return factory(weights="DEFAULT", min_size=tuple(node.MIN_SIZE), max_size=node.MAX_SIZE)

    return by_number(keep_rows(pretrained.build(make, name, pretrained=True), [0, *categories]))


@torch.no_grad()
def keep_rows(detector: GeneralizedRCNN, rows: list[int]) -> GeneralizedRCNN:
    """Leave a detector these of its logits, the background's among them, with their boxes and masks."""
    heads = detector.roi_heads
    heads.box_predictor.cls_score = _linear(heads.box_predictor.cls_score, rows)
    boxes = [4 * row + corner for row in rows for corner in range(4)]
    heads.box_predictor.bbox_pred = _linear(heads.box_predictor.bbox_pred, boxes)
    if heads.has_mask():
        last = heads.mask_predictor.mask_fcn_logits
        heads.mask_predictor.mask_fcn_logits = _kept(last, nn.Conv2d(last.in_channels, len(rows), 1), rows)
    return detector


def _linear(layer: nn.Linear, rows: list[int]) -> nn.Module:
    return _kept(layer, nn.Linear(layer.in_features, len(rows)), rows)


def _kept(layer: nn.Module, smaller: nn.Module, rows: list[int]) -> nn.Module:
    smaller.load_state_dict({key: value[rows] for key, value in layer.state_dict().items()})
    return smaller


def _backbone(body: str, sizes: Sizes, begin: str, trainable: int) -> BackboneWithFPN:
    norm = nn.BatchNorm2d if sizes.batch_norm else FrozenBatchNorm2d
    network = _begun(lambda chosen: get_model(body, weights=chosen, norm_layer=norm), body, begin)
    if begin not in BEGINNINGS:
        _begin_with(network, begin, body)
    if body.startswith("mobilenet"):
        layers, stages = network.features, STAGES["mobilenet"]
        levels = [stage[-1] for stage in stages[1:]]
        channels = [layers[level].out_channels for level in levels]
    else:
        layers, stages = network, STAGES["resnet"]
        levels = [stage[-1] for stage in stages[1:]]
        channels = [network.inplanes // 2**above for above in (3, 2, 1, 0)]
    for stage in stages[: len(stages) - trainable]:
        for name in stage:
            layers.get_submodule(str(name)).requires_grad_(False)
    return BackboneWithFPN(layers, {str(level): str(i) for i, level in enumerate(levels)}, channels, sizes.channels)


def _begun(make: Callable[[str | None], Any], name: str, begin: str) -> Any:
    """What ``make`` builds with these weights of torchvision's, whose download may fail in one line."""
    chosen = BEGINNINGS.get(begin)
    told = {"key": f"DETECTION.BACKBONE {begin}", "instead": "or name a file with DETECTION.BACKBONE"}
    return pretrained.build(lambda pretrained: make(chosen), name, pretrained=chosen is not None, **told)


def _begin_with(network: nn.Module, file: str, body: str) -> None:
    """Fill a backbone with a classifier's weights, whatever its classes were.

    Raises:
        UserError: the file is another network's.
    """
    found = weights.find(network, checkpoint.read(file), file, body, any_shapes=True)
    own = network.state_dict()
    network.load_state_dict({key: value for key, value in found.items() if value.shape == own[key].shape}, strict=False)


def _shapes(content: Any) -> Any:
    """The names and shapes of all tensors in a checkpoint."""
    for key, value in content.items() if isinstance(content, dict) else ():
        if isinstance(value, Tensor):
            yield str(key), tuple(value.shape)
        elif isinstance(value, dict):
            yield from _shapes(value)
