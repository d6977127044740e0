"""CRD's memory: one embedding of every training image per network."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdistiller_icc.losses.crd import crd_loss, log_normaliser, log_totals
from mdistiller_icc.losses.gather import gather_rows


class ContrastMemory(nn.Module):
    """Each network's embeddings contrasted with the other's memory, which then takes them in.

    The normalisers make the scores of the first batch average 1/N, and are kept from then on. Everything
    lives in buffers, so it is saved and moved with the rest; with several processes all of them remember
    every process's images.

    Args:
        num_data: N, training images.
        dim: D, length of an embedding.
        temperature: ``CRD.NCE.TEMPERATURE``.
        momentum: share of the old embedding that is kept; ``CRD.NCE.MOMENTUM``.
    """

    memory_student: Tensor
    memory_teacher: Tensor
    log_normalisers: Tensor

    def __init__(self, num_data: int, dim: int, temperature: float, momentum: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.momentum = momentum
        bound = math.sqrt(3 / dim)
        self.register_buffer("memory_student", torch.empty(num_data, dim).uniform_(-bound, bound))
        self.register_buffer("memory_teacher", torch.empty(num_data, dim).uniform_(-bound, bound))
        # of the student's and of the teacher's scores; nan until the first batch
        self.register_buffer("log_normalisers", torch.full((2,), math.nan))
        self._normalised = False
        self.register_load_state_dict_post_hook(lambda module, _: setattr(module, "_normalised", False))

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        index: Tensor,
        candidates: Tensor,
        of_all: Callable[..., tuple[Tensor, ...]] = gather_rows,
    ) -> Tensor:
        """The two networks' losses, summed; the batch is remembered.

        Args:
            student: (B, D) unit vectors, float32.
            teacher: (B, D) unit vectors, float32.
            index: (B,) the images' numbers in the data set.
            candidates: (B, K + 1) images to choose among, the right one first.
            of_all: turns rows of this process into those of all that share the memory.
        """
        if not self._normalised:
            self._normalise(student, teacher, candidates, of_all)
        normalisers = self.log_normalisers
        loss_student = crd_loss(student, self.memory_teacher, candidates, self.temperature, normalisers[0])
        loss_teacher = crd_loss(teacher, self.memory_student, candidates, self.temperature, normalisers[1])
        self._remember(*of_all(student.detach(), teacher.detach(), index))
        return loss_student + loss_teacher

    @torch.no_grad()
    def _normalise(
        self, student: Tensor, teacher: Tensor, candidates: Tensor, of_all: Callable[..., tuple[Tensor, ...]]
    ) -> None:
        # Kept for good once a later step finds them, so that a step that was left out, which takes them back, does not
        # count. Waits for the device, in the first two steps.
        self._normalised = bool(self.log_normalisers.isfinite().all())
        if not self._normalised:
            for position, (embedding, memory) in enumerate(
                [(student, self.memory_teacher), (teacher, self.memory_student)]
            ):
                (totals,) = of_all(log_totals(embedding, memory, candidates, self.temperature))
                self.log_normalisers[position] = log_normaliser(totals, candidates.shape[1], len(memory))

    @torch.no_grad()
    def _remember(self, student: Tensor, teacher: Tensor, index: Tensor) -> None:
        for memory, embedding in ((self.memory_student, student), (self.memory_teacher, teacher)):
            mixed = torch.lerp(embedding, memory[index], self.momentum)
            memory.index_copy_(0, index, F.normalize(mixed))
