"""REVIEWKD: the student's stages, fused from the deepest up, learn the teacher's."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.distillers.settings import given, image_size, upstream
from mdistiller_icc.builtin.distillers.stages import look
from mdistiller_icc.distillers.base import Distiller, Features
from mdistiller_icc.distillers.warmup import warmup
from mdistiller_icc.errors import UserError
from mdistiller_icc.losses.reviewkd import hcl_loss
from mdistiller_icc.settings import Setting, count, warmup_epochs, weight


def _levels(default: list[int], what: str) -> Setting:
    return Setting(default, f"{what}; the default is found out.", least=1, most=65536, length=(1, 16))


class ReviewKD(Distiller):
    """Chen et al., "Distilling Knowledge via Knowledge Review", CVPR 2021, arXiv:2104.09044.

    A network's levels are its stages and its pooled feature (the teacher's without the stem). The deepest
    levels of both networks pair in order, as many as both have.

    Args:
        student: the network that is trained.
        teacher: the network it learns from.
        cfg: reads the node ``REVIEWKD``. ``SHAPES``, ``OUT_SHAPES``, ``IN_CHANNELS`` and ``OUT_CHANNELS`` follow
            from the networks; those that are set limit the number of levels, and must agree with them.
            With ``COMPAT.UPSTREAM`` the fused width is at most 512 whatever ``MAX_MID_CHANNEL`` says.

    Raises:
        UserError: a list that is set does not fit the networks.
    """

    channels_last = True
    settings = {
        "CE_WEIGHT": weight(1.0, "cross-entropy"),
        "REVIEWKD_WEIGHT": weight(1.0, "the review loss"),
        "WARMUP_EPOCHS": warmup_epochs(20),
        "SHAPES": _levels([1, 8, 16, 32], "Heights of the student's levels, the deepest first"),
        "OUT_SHAPES": _levels([1, 8, 16, 32], "Heights of the teacher's levels, the deepest first"),
        "IN_CHANNELS": _levels([64, 128, 256, 256], "Channels of the student's levels, the deepest last"),
        "OUT_CHANNELS": _levels([64, 128, 256, 256], "Channels of the teacher's levels, the deepest last"),
        "MAX_MID_CHANNEL": count(512, "Largest width of what is fused.", most=65536),
        "STU_PREACT": Setting(False, "Whether the student's maps are taken before their ReLU."),
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher)
        node = cfg.REVIEWKD
        self.ce_weight = node.CE_WEIGHT
        self.kd_weight = node.REVIEWKD_WEIGHT
        self.warmup_epochs = node.WARMUP_EPOCHS
        self.settled = max(1, self.warmup_epochs)
        self.stu_preact = node.STU_PREACT

        features_student, features_teacher = self.look(student, teacher, cfg)
        levels_student = self._student_levels(features_student)
        levels_teacher = self._teacher_levels(features_teacher)
        lengths = [len(levels_student), len(levels_teacher)]
        for key, levels in (("SHAPES", levels_student), ("OUT_SHAPES", levels_teacher)):
            lengths += _length(node, self.defaults(), key, [level.shape[2] for level in reversed(levels)])
        for key, levels in (("IN_CHANNELS", levels_student), ("OUT_CHANNELS", levels_teacher)):
            lengths += _length(node, self.defaults(), key, [level.shape[1] for level in levels])
        self.levels = min(lengths)

        middle = min(512 if upstream(cfg) else node.MAX_MID_CHANNEL, levels_student[-1].shape[1])
        pairs = zip(levels_student[-self.levels :], levels_teacher[-self.levels :], strict=True)
        self.abfs = nn.ModuleList(
            Fusion(ours.shape[1], middle, goal.shape[1], fuse=above > 0)
            for above, (ours, goal) in enumerate(reversed(list(pairs)))
        )

    def look(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> tuple[Features, Features]:
        """Features of both networks, for their shapes."""
        return look(student, teacher, image_size(cfg))

    def forward_train(self, image: Tensor, target: Tensor, *, epoch: int, **_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        features_teacher = self.teach(image)[1]
        logits_student, features_student = self.student(image)
        goals = self._teacher_levels(features_teacher)[: -self.levels - 1 : -1]
        fused, carried = [], None
        for level, goal, fusion in zip(self._student_levels(features_student)[::-1], goals, self.abfs, strict=False):
            output, carried = fusion(level, carried, goal.shape[2:])
            fused.append(output)
        return logits_student, {
            "loss_ce": self.ce_weight * F.cross_entropy(logits_student, target),
            "loss_kd": self.kd_weight * warmup(epoch, self.warmup_epochs) * hcl_loss(fused, goals),
        }

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        """A batch norm over the pooled feature has one value a channel and image.

        Raises:
            UserError: batches of one image.
        """
        super().check(cfg)
        if cfg.SOLVER.BATCH_SIZE < 2:
            raise UserError("SOLVER.BATCH_SIZE must be at least 2 for REVIEWKD, which normalises over a batch")

    def _student_levels(self, features: Features) -> list[Tensor]:
        return _with_pooled(features["preact_feats"] if self.stu_preact else features["feats"], features)

    def _teacher_levels(self, features: Features) -> list[Tensor]:
        return _with_pooled(features["preact_feats"][1:], features)


class Fusion(nn.Module):
    """Attention-based fusion of a level with what the deeper ones carried up (the paper's ABF, section 3.3).

    Args:
        channels_in: of the student's level.
        channels_middle: of what is carried from level to level.
        channels_out: of the teacher's level.
        fuse: False for the deepest level, which nothing is carried to.
    """

    def __init__(self, channels_in: int, channels_middle: int, channels_out: int, fuse: bool) -> None:
        super().__init__()
        self.conv1 = _conv_norm(channels_in, channels_middle, kernel_size=1)
        self.conv2 = _conv_norm(channels_middle, channels_out, kernel_size=3)
        self.att_conv = nn.Sequential(nn.Conv2d(2 * channels_middle, 2, kernel_size=1), nn.Sigmoid()) if fuse else None

    def forward(self, level: Tensor, carried: Tensor | None, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the level in the teacher's shape (B, channels_out, *size), and what to carry on."""
        level = self.conv1(level)
        if self.att_conv is not None:
            assert carried is not None, "there is no deeper level"
            carried = F.interpolate(carried, level.shape[2:], mode="nearest")
            weight = self.att_conv(torch.cat([level, carried], dim=1))
            level = level * weight[:, :1] + carried * weight[:, 1:]
        if level.shape[2:] != size:
            level = F.interpolate(level, size, mode="nearest")
        return self.conv2(level), level


def _conv_norm(channels_in: int, channels_out: int, kernel_size: int) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, kernel_size, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out))


def _with_pooled(maps: list[Tensor], features: Features) -> list[Tensor]:
    return [*maps, features["pooled_feat"].flatten(1)[:, :, None, None]]


def _length(node: CfgNode, defaults: CfgNode, key: str, fitting: list[int]) -> list[int]:
    """How many levels a list asks for, [] if it is not set; sizes begin at the deepest level, channels end there."""
    value = given(node, defaults, key)
    if value is None:
        return []
    if list(value) != (fitting[: len(value)] if key.endswith("SHAPES") else fitting[-len(value) :]):
        raise UserError(f"REVIEWKD.{key}: {list(value)} does not fit this pair, which has {fitting}; leave the key out")
    return [len(value)]
