"""FITNET: one stage of the student predicts the teacher's."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.distillers.feature import FeatureDistiller
from mdistiller_icc.builtin.distillers.settings import image_size, input_size, upstream
from mdistiller_icc.builtin.distillers.stages import look
from mdistiller_icc.distillers.base import Features
from mdistiller_icc.errors import UserError
from mdistiller_icc.losses.fitnet import hint_loss
from mdistiller_icc.losses.resolution import same_resolution
from mdistiller_icc.settings import count, weight


class FitNet(FeatureDistiller):
    """Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, arXiv:1412.6550.

    Args:
        student: the network that is trained; its stage ``FITNET.HINT_LAYER`` is the guided one.
        teacher: the network it learns from; the stage of the same number gives the hint.
        cfg: reads the node ``FITNET``; ``INPUT_SIZE`` follows from ``DATASET.TYPE`` unless it is set.

    Raises:
        UserError: a network has no such stage.
    """

    settings = {
        "HINT_LAYER": count(
            2, "Number of the stage that is compared, counted from 0, or from -1 backwards.", -100, 100
        ),
        "INPUT_SIZE": input_size(),
        "LOSS": {"CE_WEIGHT": weight(1.0, "cross-entropy"), "FEAT_WEIGHT": weight(100.0, "the hint loss")},
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg.FITNET)
        self.hint_layer = cfg.FITNET.HINT_LAYER
        size = image_size(cfg, cfg.FITNET, self.defaults())
        shapes = [self._hint_of(features).shape for features in look(student, teacher, size, upstream(cfg))]
        self.conv_reg = regressor(*shapes)

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        image_size(cfg, cfg.FITNET, cls.defaults())

    def feature_loss(self, features_student: Features, features_teacher: Features, **_: Any) -> Tensor:
        predicted = self.conv_reg(self._hint_of(features_student))
        return hint_loss(*same_resolution(predicted, self._hint_of(features_teacher)))

    def _hint_of(self, features: Features) -> Tensor:
        feats = features["feats"]
        if not -len(feats) <= self.hint_layer < len(feats):
            raise UserError(f"FITNET.HINT_LAYER: {self.hint_layer}, but a network of this pair has {len(feats)} stages")
        return feats[self.hint_layer]


def regressor(student: tuple[int, ...], teacher: tuple[int, ...]) -> nn.Sequential:
    """A convolution with batch norm and ReLU from a student's feature to the shape of a teacher's.

    Args:
        student: (B, C, H, W).
        teacher: (B, C', H', W'). Where it is larger, and not by exactly two, the student's size is kept.
    """
    (_, channels_in, height, width), (_, channels_out, goal_height, goal_width) = student, teacher
    if height == 2 * goal_height:
        conv: nn.Module = nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=2, padding=1)
    elif 2 * height == goal_height:
        conv = nn.ConvTranspose2d(channels_in, channels_out, kernel_size=4, stride=2, padding=1)
    else:
        window = (max(1 + height - goal_height, 1), max(1 + width - goal_width, 1))
        conv = nn.Conv2d(channels_in, channels_out, kernel_size=window)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))
