"""CKD: each sample's two predictions find each other among the predictions of the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mdistiller_icc.losses.direction import direction
from mdistiller_icc.losses.precision import full_precision


@full_precision
def ckd_loss(logits_student: Tensor, logits_teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Contrast every teacher row with all student rows of the batch; its own student row is the positive.

    ``L_CL = −(1/B) Σ_i log [exp(S_ii/τ) / Σ_j exp(S_ij/τ)]`` with ``S_ij = cos(o^t_i, o^s_j)`` on raw
    logits: no softmax, no projection, the teacher is the anchor, one direction, and samples of the same
    class stay among the negatives. Zhu et al., "CKD: Contrastive Knowledge Distillation from a
    Sample-wise Perspective", arXiv:2404.14109, and the authors' released code [A].

    Args:
        logits_student: o^s, (B, C), carries the gradient.
        logits_teacher: o^t, (B, C), taken as constant.
        temperature: τ; ``CKD.TEMPERATURE``.

    Returns:
        Scalar, in nats; exactly 0 for a batch of one, which has nothing to contrast with.
    """
    similarity = direction(logits_teacher.detach(), 1) @ direction(logits_student, 1).T
    own_row = torch.arange(len(similarity), device=similarity.device)
    return F.cross_entropy(similarity / temperature, own_row)
