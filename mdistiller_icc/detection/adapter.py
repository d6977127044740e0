"""A detector as a distiller sees it: what the student's training pass makes, and what its teacher says of the same."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import fastrcnn_loss, maskrcnn_loss

from mdistiller_icc.detection.coco import Target
from mdistiller_icc.detection.draws import draw

Losses = dict[str, Tensor]


class Seen(NamedTuple):
    """What the training pass of a detector made; its R proposals are those that its heads were trained with.

    Attributes:
        images: normalised and of one size, with their sizes before padding.
        levels: the pyramid's maps (B, C, H, W), the finest first.
        proposals: of every image, (R_b, 4).
        labels: of all of them, (R,); 0 is the background.
        objects: the number of each one's object, (R,); -1 for the background.
        features: the box head's, (R, D).
        logits: (R, K + 1).
        losses: torchvision's, by its names.
    """

    images: ImageList
    levels: list[Tensor]
    proposals: list[Tensor]
    labels: Tensor
    objects: Tensor
    features: Tensor
    logits: Tensor
    losses: Losses


def see(student: GeneralizedRCNN, images: list[Tensor], targets: list[Target]) -> Seen:
    """The training pass of torchvision's `GeneralizedRCNN`, step by step, so that nothing of it is lost.

    Args:
        student: from `models.build`, in train mode.
        images: (3, H, W) each, in [0, 1].
        targets: theirs; ``number`` is where each image's randomness comes from.
    """
    draw(student, [target["number"] for target in targets])
    batch, targets = student.transform(images, targets)
    levels = student.backbone(batch.tensors)
    found, losses = student.rpn(batch, levels, targets)
    heads = student.roi_heads
    proposals, matched, labels, boxes = heads.select_training_samples(found, targets)
    features = heads.box_head(heads.box_roi_pool(levels, proposals, batch.image_sizes))
    logits, regression = heads.box_predictor(features)
    loss_classifier, loss_box_reg = fastrcnn_loss(logits, regression, labels, boxes)
    losses = {"loss_classifier": loss_classifier, "loss_box_reg": loss_box_reg, **losses}
    if heads.has_mask():
        positive = [label > 0 for label in labels]
        inside = [boxes[chosen] for boxes, chosen in zip(proposals, positive, strict=True)]
        whose = [index[chosen] for index, chosen in zip(matched, positive, strict=True)]
        masks = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(levels, inside, batch.image_sizes)))
        theirs = [target["masks"] for target in targets], [target["labels"] for target in targets]
        losses["loss_mask"] = maskrcnn_loss(masks, inside, *theirs, whose)
    label = torch.cat(labels)
    owners = torch.cat([target["objects"][index] for target, index in zip(targets, matched, strict=True)])
    objects = owners.masked_fill(label == 0, -1)
    return Seen(batch, list(levels.values()), proposals, label, objects, features, logits, losses)


class Told(NamedTuple):
    """What a teacher says: its pyramid's maps, and logits (R, K + 1) of the student's proposals."""

    levels: list[Tensor]
    logits: Tensor


@torch.no_grad()
def tell(teacher: GeneralizedRCNN, seen: Seen) -> Told:
    """Look at the student's images and proposals with the teacher; its own proposals and losses are not made."""
    levels: dict[str, Tensor] = teacher.backbone(seen.images.tensors)
    heads: Any = teacher.roi_heads
    features = heads.box_head(heads.box_roi_pool(levels, seen.proposals, seen.images.image_sizes))
    return Told(list(levels.values()), heads.box_predictor(features)[0])
