"""VID: the student predicts the teacher's features, and how surely it can."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.distillers.feature import FeatureDistiller
from mdistiller_icc.builtin.distillers.settings import image_size, input_size, upstream
from mdistiller_icc.builtin.distillers.stages import look, pair_stages, sizes
from mdistiller_icc.distillers.base import Features
from mdistiller_icc.errors import UserError
from mdistiller_icc.losses.resolution import same_resolution
from mdistiller_icc.losses.total import total
from mdistiller_icc.losses.vid import vid_loss
from mdistiller_icc.settings import Setting, weight


class VID(FeatureDistiller):
    """Ahn et al., "Variational Information Distillation for Knowledge Transfer", CVPR 2019, arXiv:1904.05835.

    Args:
        student: the network that is trained.
        teacher: the network it learns from.
        cfg: reads the node ``VID``; ``INPUT_SIZE`` follows from ``DATASET.TYPE`` unless it is set. With
            ``COMPAT.UPSTREAM`` the variances stay as they begin.
    """

    settings = {
        "EPS": Setting(1e-5, "Smallest variance.", least=1e-30, most=1),
        "INIT_PRED_VAR": Setting(5.0, "Variance at the beginning; above EPS.", above=0, most=500),
        "INPUT_SIZE": input_size(),
        "LOSS": {"CE_WEIGHT": weight(1.0, "cross-entropy"), "FEAT_WEIGHT": weight(1.0, "the information loss")},
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg.VID)
        self.eps = cfg.VID.EPS
        as_upstream = upstream(cfg)
        size = image_size(cfg, cfg.VID, self.defaults())
        feats_student, feats_teacher = (f["feats"][1:] for f in look(student, teacher, size, as_upstream))
        self.pairs = pair_stages(sizes(feats_student), sizes(feats_teacher), as_upstream)
        # softplus of this plus eps is the initial variance
        start = math.log(math.expm1(cfg.VID.INIT_PRED_VAR - self.eps))
        self.regressors = nn.ModuleList()
        self.log_scales = nn.ParameterList()
        for s, t in self.pairs:
            channels = feats_teacher[t].shape[1]
            self.regressors.append(_regressor(feats_student[s].shape[1], channels))
            self.log_scales.append(nn.Parameter(torch.full((channels,), start), requires_grad=not as_upstream))

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        image_size(cfg, cfg.VID, cls.defaults())
        if cfg.VID.INIT_PRED_VAR <= cfg.VID.EPS:
            raise UserError(f"VID.INIT_PRED_VAR must be above VID.EPS {cfg.VID.EPS}, not {cfg.VID.INIT_PRED_VAR}")

    def feature_loss(self, features_student: Features, features_teacher: Features, **_: Any) -> Tensor:
        feats_student, feats_teacher = features_student["feats"][1:], features_teacher["feats"][1:]
        losses = []
        for (s, t), regress, log_scale in zip(self.pairs, self.regressors, self.log_scales, strict=True):
            student, teacher = same_resolution(feats_student[s], feats_teacher[t])
            losses.append(vid_loss(regress(student), log_scale, teacher, self.eps))
        return total(losses)


def _regressor(channels_in: int, channels_out: int) -> nn.Sequential:
    widths = [channels_in, channels_out, channels_out, channels_out]
    layers: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Conv2d(before, after, kernel_size=1, bias=False), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
