"""CRD: the student's feature of an image is nearest to the teacher's feature of that image."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.distillers.contrast_memory import ContrastMemory
from mdistiller_icc.builtin.distillers.feature import FeatureDistiller
from mdistiller_icc.builtin.distillers.settings import given, image_size
from mdistiller_icc.builtin.distillers.stages import look, pooled_size
from mdistiller_icc.distillers.base import Features
from mdistiller_icc.errors import UserError
from mdistiller_icc.settings import Setting, check_memory, count, temperature, weight


class CRD(FeatureDistiller):
    """Tian, Krishnan & Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv:1910.10699.

    Args:
        student: the network that is trained.
        teacher: the network it learns from.
        cfg: reads the node ``CRD``; ``FEAT.STUDENT_DIM`` and ``FEAT.TEACHER_DIM`` follow from the networks, and
            must agree with them where they are set. ``MODE`` is the data loader's.
        num_data: training images.

    Raises:
        UserError: a dimension that is set does not fit its network.
    """

    settings = {
        "MODE": Setting("exact", "The positive: the image itself, or any of its class.", choices=("exact", "relax")),
        "FEAT": {
            "DIM": count(128, "Length of the embeddings.", most=65536),
            "STUDENT_DIM": count(256, "Length of the student's pooled feature; the default is found out.", most=2**20),
            "TEACHER_DIM": count(256, "Length of the teacher's; the default is found out.", most=2**20),
        },
        "LOSS": {"CE_WEIGHT": weight(1.0, "cross-entropy"), "FEAT_WEIGHT": weight(0.8, "the contrastive loss")},
        "NCE": {
            "K": count(16384, "Negatives of each image.", most=2**24),
            "MOMENTUM": Setting(0.5, "Share of the old embedding that a memory keeps.", least=0, most=1),
            "TEMPERATURE": temperature(0.07, "Temperature that cosines are divided by."),
        },
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode, num_data: int) -> None:
        super().__init__(student, teacher, cfg.CRD)
        feat, nce = cfg.CRD.FEAT, cfg.CRD.NCE
        self.num_data = num_data
        self.negatives = nce.K
        looks = look(student, teacher, image_size(cfg))
        for key, features in zip(("STUDENT_DIM", "TEACHER_DIM"), looks, strict=True):
            size = given(feat, self.defaults().FEAT, key)
            if size not in (None, pooled_size(features)):
                raise UserError(f"CRD.FEAT.{key}: {size}, but the network's pooled feature has {pooled_size(features)}")
        check_memory("CRD.FEAT.DIM", feat.DIM, 2 * num_data * feat.DIM * 4)
        self.embed_s = nn.Linear(pooled_size(looks[0]), feat.DIM)
        self.embed_t = nn.Linear(pooled_size(looks[1]), feat.DIM)
        self.contrast = ContrastMemory(num_data, feat.DIM, nce.TEMPERATURE, nce.MOMENTUM)

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        # At the least an index, and four scores and gradients at a time, of each candidate: 24.2 bytes, as measured.
        check_memory("CRD.NCE.K", cfg.CRD.NCE.K, cfg.SOLVER.BATCH_SIZE * (cfg.CRD.NCE.K + 1) * 24)

    def feature_loss(
        self,
        features_student: Features,
        features_teacher: Features,
        *,
        index: Tensor,
        contrastive_index: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """The loss of both networks against each other's memory.

        Args:
            features_student: of the student.
            features_teacher: of the teacher.
            index: (B,) the images' numbers in the data set.
            contrastive_index: (B, K + 1) candidates, the right one first; without it ``NCE.K`` images of the
                whole data set are drawn on the device, whatever their class.
        """
        if contrastive_index is None:
            count = len(self.of_all(index)[0])  # every process draws for the whole batch, and so the same
            drawn = torch.randint(self.num_data, (count, self.negatives + 1), device=index.device)
            contrastive_index = drawn[self.share(count)]
            contrastive_index[:, 0] = index
        student = _embedded(self.embed_s, features_student)
        teacher = _embedded(self.embed_t, features_teacher)
        return self.contrast(student, teacher, index, contrastive_index, self.of_all)


def _embedded(embed: nn.Linear, features: Features) -> Tensor:
    """(B, D) unit vectors, float32 at least: half types are too coarse for cosines divided by the temperature."""
    embedding = embed(features["pooled_feat"].flatten(1))
    return F.normalize(embedding.to(torch.promote_types(embedding.dtype, torch.float32)))
