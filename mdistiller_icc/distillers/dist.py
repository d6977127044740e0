"""DIST: predictions correlate with the teacher's, image by image and class by class."""

from __future__ import annotations

from torch import Tensor

from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.losses.dist import dist_loss
from mdistiller_icc.settings import temperature, weight


class DIST(LogitDistiller):
    """``L = CE + τ² (β · inter + γ · intra)``.

    Huang et al., NeurIPS 2022, arXiv:2205.10536, and the authors' released code [A], whose CIFAR-100 settings
    are the defaults; on ImageNet τ is 1.
    """

    node = "DIST"
    relates_images = True
    settings = {
        "CE_WEIGHT": weight(1.0, "cross-entropy"),
        "BETA": weight(2.0, "the correlation of an image's predictions, β"),
        "GAMMA": weight(2.0, "the correlation of a class's predictions, γ"),
        "TEMPERATURE": temperature(4.0),
    }

    def logit_loss(self, logits_student: Tensor, logits_teacher: Tensor, target: Tensor, epoch: int) -> Tensor:
        return dist_loss(logits_student, logits_teacher, self.own.TEMPERATURE, self.own.BETA, self.own.GAMMA)
