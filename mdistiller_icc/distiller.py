"""The distiller interface of mdistiller, and the one place where a teacher is frozen."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mdistiller_icc.frozen_teacher import FrozenTeacher

Features = dict[str, Any]
"""What a model returns beside its logits: ``feats``, ``preact_feats`` (lists), ``pooled_feat`` (B, D)."""


class Distiller(nn.Module):
    """A student, the frozen teacher it learns from, and the loss between them.

    A subclass defines ``forward_train(image, target, **kwargs)`` and returns
    ``(logits_student, {"loss_ce": …, "loss_kd": …})``; it declares its configuration node in
    ``defaults()``. Whatever needs a gradient and is not the teacher's is learnable, so a forgotten
    parameter cannot happen. The teacher needs no gradient and stays in eval mode, whatever is called.

    Args:
        student: the network that is trained.
        teacher: the network it learns from; None for recipes without one (plain training, ICC teachers).
    """

    settled: int | None = None
    """From this epoch on training passes no longer depend on the epoch; None if they always may."""

    def __init__(self, student: nn.Module, teacher: nn.Module | None = None) -> None:
        super().__init__()
        self.student = student
        self.teacher = teacher
        self._frozen = FrozenTeacher(teacher) if teacher is not None else None
        if teacher is not None:
            teacher.requires_grad_(False)
            teacher.eval()

    def train(self, mode: bool = True) -> Distiller:
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def get_learnable_parameters(self) -> list[nn.Parameter]:
        """Every parameter that needs a gradient and is not the teacher's."""
        return [p for name, p in self.named_parameters() if p.requires_grad and not name.startswith("teacher.")]

    def get_extra_parameters(self) -> int:
        """How many learnable numbers the method adds to the student's own."""
        own = {id(p) for p in self.student.parameters()}
        return sum(p.numel() for p in self.get_learnable_parameters() if id(p) not in own)

    def teach(self, image: Tensor) -> tuple[Tensor, Features]:
        """The teacher's logits and features for a batch, without a graph; see `FrozenTeacher`.

        Methods call it before the student: what the student leaves in the processor's cache is read again at once,
        by the backward pass.
        """
        if self._frozen is None or self._frozen.teacher is not self.teacher:  # set since, or a replica of DataParallel
            with torch.no_grad():
                return self.teacher(image)
        return self._frozen(image)

    def forward_train(self, image: Tensor, target: Tensor, **kwargs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        raise NotImplementedError(f"{type(self).__name__} defines no forward_train")

    def forward_test(self, image: Tensor) -> Tensor:
        return self.student(image)[0]

    def forward(self, **kwargs: Any) -> Any:
        """``forward_train`` while training, else the student's logits for ``image``."""
        return self.forward_train(**kwargs) if self.training else self.forward_test(kwargs["image"])
