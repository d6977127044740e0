"""RLD: what a teacher that is wrong believes in first is not passed on."""

from __future__ import annotations

from torch import Tensor

from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.losses.rld import rld_loss
from mdistiller_icc.settings import temperature, warmup_epochs, weight


class RLD(LogitDistiller):
    """``L = CE + warm-up · (α · SCD + β · MCD)``.

    Sun et al., "Knowledge Distillation with Refined Logits", arXiv:2408.07703, and the authors' released code
    [A], whose settings for every CIFAR-100 pair are the defaults.
    """

    node = "RLD"
    settings = {
        "CE_WEIGHT": weight(1.0, "cross-entropy"),
        "ALPHA": weight(1.0, "how sure the networks are, α"),
        "BETA": weight(8.0, "the order of the classes below the label, β"),
        "TEMPERATURE": temperature(4.0, "Temperature of the classes below the label."),
        "SAMPLE_TEMPERATURE": temperature(1.0, "Temperature at which it is compared how sure the networks are."),
        "WARMUP": warmup_epochs(20),
    }

    def logit_loss(self, logits_student: Tensor, logits_teacher: Tensor, target: Tensor, epoch: int) -> Tensor:
        own = self.own
        weights, temperatures = (own.ALPHA, own.BETA), (own.TEMPERATURE, own.SAMPLE_TEMPERATURE)
        return rld_loss(logits_student, logits_teacher, target, *weights, *temperatures)
