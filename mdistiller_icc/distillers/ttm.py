"""TTM and WTTM: the teacher's prediction is flattened, the student's is left as it is."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.losses.ttm import ttm_loss
from mdistiller_icc.settings import Setting, weight


def _settings(exponent: float, beta: float) -> dict[str, Setting]:
    return {
        "CE_WEIGHT": weight(1.0, "cross-entropy"),
        "BETA": weight(beta, "the divergence from the teacher, β"),
        "GAMMA": Setting(exponent, "Power that the teacher's probabilities are raised to, γ.", above=0, most=10),
    }


class TTM(LogitDistiller):
    """``L = CE + β · mean KL(p_t^γ / U ‖ p_s)``.

    Zheng & Yang, ICLR 2024, arXiv:2402.11148, and the authors' released code [A]. γ and β differ per pair; the
    defaults are those of the released example, vgg13 → vgg8.
    """

    node = "TTM"
    weighted: ClassVar[bool] = False
    settings = _settings(0.1, 45.0)

    def logit_loss(self, logits_student: Tensor, logits_teacher: Tensor, target: Tensor, epoch: int) -> Tensor:
        weight: float = self.own.BETA
        return weight * ttm_loss(logits_student, logits_teacher, self.own.GAMMA, self.weighted)


class WTTM(TTM):
    """``L = CE + β · mean U · KL(p_t^γ / U ‖ p_s)``, U = Σ_c p_t^γ: TTM, where the teacher is unsure above all.

    The same paper and code. Its only released example is WTTM with CRD; γ and β are taken from there [R].
    """

    node = "WTTM"
    weighted = True
    settings = _settings(0.2, 4.0)
