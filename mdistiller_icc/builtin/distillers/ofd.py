"""OFD: the student's pre-activations follow the teacher's, where the teacher's speak."""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.distillers.feature import FeatureDistiller
from mdistiller_icc.builtin.distillers.settings import image_size, upstream
from mdistiller_icc.builtin.distillers.stages import look, pair_stages, sizes
from mdistiller_icc.distillers.base import Features
from mdistiller_icc.errors import UserError
from mdistiller_icc.losses.ofd import negative_margin, ofd_loss
from mdistiller_icc.settings import Setting, weight


@runtime_checkable
class HasLastNorms(Protocol):
    """A network that can be OFD's teacher."""

    def get_bn_before_relu(self) -> list[nn.BatchNorm2d]:
        """The batch norms that end its last stages, the last stage's last."""
        ...


class OFD(FeatureDistiller):
    """Heo et al., "A Comprehensive Overhaul of Feature Distillation", ICCV 2019, arXiv:1904.01866.

    The authors' released code and mdistiller keep the teacher in train mode: it normalises by the batch's own
    statistics, and its running ones drift. We depart from both: here a teacher is frozen, in eval mode, for every
    method, so that all students of one teacher learn from the same network. What that changes is measured in
    docs/parity-methods.md.

    Args:
        student: the network that is trained.
        teacher: the network it learns from; has ``get_bn_before_relu()``, the batch norms that end its last stages.
        cfg: reads the node ``OFD``. With ``COMPAT.UPSTREAM`` stages are counted from the last, and the
            teacher is in train mode; its drifted statistics are not saved, so a resumed run starts them anew.

    Raises:
        UserError: the teacher's stages do not end in batch norms, or it does not say in which.
    """

    teacher: nn.Module

    settings = {
        "LOSS": {"CE_WEIGHT": weight(1.0, "cross-entropy"), "FEAT_WEIGHT": weight(0.001, "the margin loss")},
        "CONNECTOR": {
            "KERNEL_SIZE": Setting(1, "Width of the convolution on the student's maps.", choices=(1, 3, 5, 7))
        },
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg.OFD)
        self.upstream = upstream(cfg)
        if not isinstance(teacher, HasLastNorms):
            raise UserError(f"{type(teacher).__name__} cannot be OFD's teacher: it has no get_bn_before_relu()")
        norms = teacher.get_bn_before_relu()
        maps_student, maps_teacher = (f["preact_feats"][1:] for f in look(student, teacher, image_size(cfg)))
        self.first = max(len(maps_teacher) - len(norms), 0)
        maps_teacher, norms = maps_teacher[self.first :], norms[-len(maps_teacher) :]
        if self.upstream:
            count = min(len(maps_student), len(maps_teacher))
            self.pairs = [(len(maps_student) - n, len(maps_teacher) - n) for n in range(count, 0, -1)]
        else:
            self.pairs = pair_stages(sizes(maps_student), sizes(maps_teacher))
        self.connectors = nn.ModuleList()
        for stage, (s, t) in enumerate(self.pairs):
            channels = maps_student[s].shape[1], maps_teacher[t].shape[1]
            self.connectors.append(connector(*channels, cfg.OFD.CONNECTOR.KERNEL_SIZE))
            self.register_buffer(f"margin_{stage}", negative_margin(norms[t].weight, norms[t].bias), persistent=False)

    def train(self, mode: bool = True) -> OFD:
        super().train(mode)
        if self.upstream:
            self.teacher.train(mode)
        return self

    def feature_loss(self, features_student: Features, features_teacher: Features, **_: Any) -> Tensor:
        maps_student = features_student["preact_feats"][1:]
        maps_teacher = features_teacher["preact_feats"][1:][self.first :]
        connected = [connect(maps_student[s]) for (s, _), connect in zip(self.pairs, self.connectors, strict=True)]
        margins = [self.get_buffer(f"margin_{stage}") for stage in range(len(self.pairs))]
        return ofd_loss(connected, [maps_teacher[t] for _, t in self.pairs], margins)


def connector(channels_in: int, channels_out: int, kernel_size: int) -> nn.Sequential:
    """A convolution with batch norm from a student's channels to a teacher's, at the same resolution."""
    conv = nn.Conv2d(channels_in, channels_out, kernel_size, padding=(kernel_size - 1) // 2, bias=False)
    nn.init.normal_(conv.weight, std=math.sqrt(2 / (kernel_size**2 * channels_out)))
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out))
