"""Detectors as distillers: trained alone, from a teacher by the package's methods, or as ICC teachers."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from yacs.config import CfgNode

from mdistiller_icc import ranks
from mdistiller_icc.builtin.distillers.reviewkd import ReviewKD
from mdistiller_icc.detection.adapter import Losses, Seen, see, tell
from mdistiller_icc.distillers.base import Distiller, Features, build
from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.distillers.sum import parts_of
from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.icc import settings as icc_settings
from mdistiller_icc.icc.distiller import loss_of
from mdistiller_icc.icc.settings import SETTINGS
from mdistiller_icc.plugin import METHODS
from mdistiller_icc.run.processes import several


class Detector(Distiller):
    """A detector that learns from its labels alone.

    Args:
        student: the detector that is trained.
        teacher: accepted, and not used.
    """

    teacher_kind: ClassVar[str | None] = "vanilla"
    student: GeneralizedRCNN
    ce_weight = 1.0

    def __init__(self, student: nn.Module, teacher: nn.Module | None, cfg: CfgNode) -> None:
        super().__init__(student, teacher)

    def forward_train(self, image: Any, target: Any, *, epoch: int = 1, **_: Any) -> tuple[Tensor, Losses]:
        """Logits (R, K + 1) of the proposals, and torchvision's losses by its names; any other is ``loss_kd``.

        Args:
            image: a list of images (3, H, W) in [0, 1].
            target: a list of theirs, as `TrainLoader` yields them.
            epoch: counted from 1.
        """
        seen = see(self.student, image, target)
        losses = _shared(seen)
        losses["loss_classifier"] = self.ce_weight * losses["loss_classifier"]
        loss = self.further(seen, epoch)
        return seen.logits, losses if loss is None else {**losses, "loss_kd": loss}

    def further(self, seen: Seen, epoch: int) -> Tensor | None:
        """What is learnt beyond the labels."""
        return None

    def forward_test(self, image: Any) -> Any:
        """What torchvision's detectors find on a list of images."""
        return self.student(image)


class TaughtDetector(Detector):
    """A detector that learns from another one by methods of this package, as they are.

    Logits are those of the student's own sampled proposals, seen by both networks, and their sampled labels are the
    classes: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, and its authors' code [A].

    Args:
        student: the detector that is trained.
        teacher: the one that it learns from.
        cfg: reads every method's node.
    """

    teacher_kind = None
    methods: ClassVar[dict[str, type[Distiller]]]
    teacher: GeneralizedRCNN

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg)
        self.says = Saying(self.student.backbone.out_channels), Saying(self.teacher.backbone.out_channels)
        self.parts = nn.ModuleDict()
        for name, method in self.methods.items():
            self.parts[name] = build(method, *self.says, cfg=cfg, num_data=0)
        first: Any = next(iter(self.parts.values()))
        self.ce_weight = first.ce_weight  # as in any sum of methods

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        for method in cls.methods.values():
            method.check(cfg)

    def further(self, seen: Seen, epoch: int) -> Tensor:
        told = tell(self.teacher, seen)
        self.says[0].said = seen.logits, {"levels": seen.levels}
        self.says[1].said = told.logits, {"levels": told.levels}
        loss = seen.logits.new_zeros(())
        for name in self.parts:
            part: Any = self.parts[name]
            _logits, losses = part.forward_train(image=seen.images.tensors, target=seen.labels, epoch=epoch)
            alone = isinstance(part, LogitDistiller) and not part.relates_images
            loss = loss + losses["loss_kd"] * (_share(len(seen.labels)) if alone else 1)
        return loss


class Saying(nn.Module):
    """A network in a method's place for one: asked about any images, it returns what was said last.

    Args:
        channels: of the maps with which a method learns their form.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.said: tuple[Tensor, Features] = torch.zeros(1, 2), {"levels": [torch.zeros(1, channels, 1, 1)] * 5}

    def train(self, mode: bool = True) -> Saying:
        """Stay in train mode, in which nobody makes a quicker copy of it."""
        return super().train(True)

    def forward(self, image: Tensor) -> tuple[Tensor, Features]:
        return self.said


class PyramidReview(ReviewKD):
    """ReviewKD on the maps of two feature pyramids, from the coarsest to the finest.

    Chen et al., "Distilling Knowledge via Knowledge Review", CVPR 2021, and its authors' code for detection [A].
    """

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        """The coarsest map has one position where an image is no larger than 64 pixels, and a batch norm wants two.

        Raises:
            UserError: batches of one such image.
        """
        if min(*cfg.DETECTION.MIN_SIZE, cfg.DETECTION.MAX_SIZE) <= 64:
            super().check(cfg)

    def look(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> tuple[Features, Features]:
        return student(None)[1], teacher(None)[1]

    def _student_levels(self, features: Features) -> list[Tensor]:
        levels: list[Tensor] = features["levels"]
        return levels

    _teacher_levels = _student_levels


class ICCDetector(Detector):
    """The ICC recipe for the teacher of detectors; the paper has classifiers alone, so all of this is our reading [R].

    A sample is an object, seen through a positive proposal of it: the feature is the box head's, and the gate looks at
    the probabilities of its logits, the background's among them. Another proposal of the same object is the other view
    of it, so an object with one alone takes no part. The negatives are other objects of the class. Each process has
    its own queues.

    Args:
        student: the future teacher.
        teacher: accepted, and not used.
        cfg: reads the node ``ICC``.
    """

    teacher_kind = "icc"
    settings = SETTINGS

    def __init__(self, student: nn.Module, teacher: nn.Module | None, cfg: CfgNode) -> None:
        super().__init__(student, None, cfg)
        logits = self.student.roi_heads.box_predictor.cls_score
        self.warmup_epochs = cfg.ICC.WARMUP
        self.loss = loss_of(cfg.ICC, logits.out_features, logits.in_features)

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        icc_settings.check(cfg)
        for key, wanted in (("POSITIVE", "twin"), ("FEATURE", "pooled_feat")):
            if cfg.ICC[key] != wanted:
                raise UserError(f"ICC.{key} {cfg.ICC[key]}: detectors know {wanted} alone")
        if several() > 1 and cfg.DISTILLER.GATHER:
            raise UserError("ICC teachers of detectors have queues in each process: set DISTILLER.GATHER False")

    def further(self, seen: Seen, epoch: int) -> Tensor | None:
        if self.loss.off or epoch <= self.warmup_epochs:
            return None
        first, second = two_of_one_object(seen.objects)
        if not len(first):
            return seen.features.sum() * 0
        rows = torch.cat([first, second])
        classifier = self.student.roi_heads.box_predictor.cls_score.weight
        each = seen.logits[first], seen.features[rows], seen.labels[first], seen.objects[first]
        loss: Tensor = self.loss(*each, classifier=classifier)
        return loss

    def diagnostics(self) -> dict[str, float | None]:
        """The figures of `ICCLoss`."""
        return self.loss.figures()

    def warnings(self, metrics: dict[str, Any]) -> list[str]:
        """That the recipe is turned off, once."""
        return [icc_settings.PLAIN] if self.loss.off and metrics["epoch"] == 1 else []


def two_of_one_object(objects: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last proposal of every object that has two of them or more.

    Args:
        objects: each proposal's, (R,); below 0 for none.

    >>> two_of_one_object(torch.tensor([4, -1, 7, 4, 4]))
    (tensor([0]), tensor([4]))
    """
    ordered, order = objects.sort(stable=True)
    begins = torch.searchsorted(ordered, ordered.unique())
    ends = torch.searchsorted(ordered, ordered.unique(), right=True) - 1
    several_of_it = (ends > begins) & (ordered[begins] >= 0)
    return order[begins[several_of_it]], order[ends[several_of_it]]


ALONE: dict[str, type[Detector]] = {"NONE": Detector, "ICC": ICCDetector}
TAUGHT: dict[str, type[Distiller]] = {
    **{
        name: method
        for name, method in METHODS.items()
        if issubclass(method, LogitDistiller)
        and method.forward_train is LogitDistiller.forward_train
        and name not in ("GDKD", "WKD")  # which look at a classifier's weights
    },
    "REVIEWKD": PyramidReview,
}
"""The methods that logits or the pyramid's maps are enough for."""


def distiller(name: str) -> type[Detector]:
    """The class that ``DISTILLER.TYPE`` names: a recipe of teachers, a method, or a sum of methods.

    Raises:
        UserError: there is none, or it is for classifiers.
    """
    if name in ALONE:
        return ALONE[name]
    parts = parts_of(name)
    for part in parts:
        if part not in TAUGHT:
            what = "wants more of a network than a detector shows" if part in METHODS else "is no method"
            known = [*ALONE, *TAUGHT]
            raise UserError(f"DISTILLER.TYPE {name}: {part} {what}{nearest(part, known)}; there are {', '.join(known)}")
    return type(name, (TaughtDetector,), {"methods": {part: TAUGHT[part] for part in parts}})


def _shared(seen: Seen) -> Losses:
    """The losses, each as much as this process's share of what it is a mean over."""
    if ranks.world() == 1:
        return seen.losses
    rows, positive = _share(len(seen.labels)), _share(int((seen.labels > 0).sum()))
    counts = {"loss_classifier": rows, "loss_box_reg": rows, "loss_mask": positive}
    return {name: loss * counts.get(name, 1.0) for name, loss in seen.losses.items()}


def _share(count: int) -> float:
    """What a mean over ``count`` things of this process weighs in one over those of all."""
    return 1.0 if ranks.world() == 1 else count * ranks.world() / sum(ranks.of_all(count))
