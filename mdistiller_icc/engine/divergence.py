"""What a run does about a loss that is not finite: it stops, or leaves the step out (``SOLVER.ON_NAN``)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from mdistiller_icc import ranks
from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.errors import UserError

LOOK_EVERY = 64
"""Steps between two looks at the losses, which stay on the device until then."""


class Diverged(UserError):
    """The run has no finite loss, or no finite weights, any more."""


class Watch:
    """Looks at the losses of an epoch's steps.

    With ``stop`` they are collected on the device and read every `LOOK_EVERY` steps and at the end of the epoch, whose
    weights are not saved before. With ``skip`` each step waits for its losses and gradients, and one that is not finite
    leaves neither weights nor buffers (batch-norm statistics, memory banks) changed.

    Args:
        on_nan: ``stop`` or ``skip``.
        epoch: counted from 1.
        steps: of the epoch.
        lr: its learning rate.
        distiller: what is trained.
    """

    def __init__(self, on_nan: str, epoch: int, steps: int, lr: float, distiller: Distiller) -> None:
        self.skips = on_nan == "skip"
        self.where, self.distiller = f"epoch {epoch}, step {{}} of {steps}", distiller
        self.at = f"at learning rate {lr:g}: the run has diverged"
        self.modules = [m for name, m in distiller.named_modules() if name.partition(".")[0] != "teacher"]
        self.step, self.skipped, self.taken = 0, 0, True
        self.waiting: list[tuple[list[str], Tensor]] = []
        self.last_bad = ""

    def begin(self) -> None:
        """A step begins."""
        self.step += 1
        if self.skips:
            self.before = [
                (module, name, buffer.clone())
                for module in self.modules
                for name, buffer in module._buffers.items()
                if buffer is not None
            ]

    def takes(
        self, losses: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, held: Iterable[Tensor] = ()
    ) -> bool:
        """Whether the optimiser is to take the step whose losses and gradients are there.

        Args:
            losses: of the step.
            optimizer: whose parameters have the gradients.
            held: gradients that it has taken from them already.

        Raises:
            Diverged: a loss of one of the last steps was not finite.
        """
        names, values = list(losses), torch.stack([as_number(loss).detach().float() for loss in losses.values()])
        self.taken = True
        if self.skips:
            values = _of_all(values)
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            if not finite([values, *gradients, *held]):
                self._leave_out(names, values)
            return self.taken
        self.waiting.append((names, values))
        if len(self.waiting) == LOOK_EVERY:
            self._look()
        return True

    def end(self) -> None:
        """The epoch has taken its steps.

        Raises:
            Diverged: a loss was not finite, every step was left out, or the weights are not finite.
        """
        if self.waiting:
            self._look()
        if self.skipped == self.step:
            raise Diverged(f"{self.where.format(self.step)}: all {self.step} steps were left out; {self.last_bad}")
        if not finite([*self.distiller.get_learnable_parameters(), *self.distiller.student.state_dict().values()]):
            raise Diverged(f"{self.where.format(self.step)}: the weights are not finite {self.at}")

    def _look(self) -> None:
        first, named = self.step - len(self.waiting) + 1, [names for names, _values in self.waiting]
        of_all = _of_all(torch.cat([values for _names, values in self.waiting])).split([*map(len, named)])
        waiting, self.waiting = [*zip(named, of_all, strict=True)], []
        if not finite(values for _names, values in waiting):
            for step, (names, values) in enumerate(waiting, start=first):
                if told := self._told(names, values):
                    raise Diverged(f"{self.where.format(step)}: {told}")

    def _leave_out(self, names: list[str], losses: Tensor) -> None:
        self.taken = False
        self.skipped += 1
        self.last_bad = self._told(names, losses) or f"the gradients are not finite {self.at}"
        for module, name, before in self.before:
            now = module._buffers[name]
            if now is not None and now.shape == before.shape:
                now.copy_(before)
            else:
                module._buffers[name] = before

    def _told(self, names: list[str], losses: Tensor) -> str:
        """What is wrong with a step's losses; nothing if nothing is."""
        values = zip(names, losses.tolist(), strict=True)
        bad = ", ".join(f"{name} is {value}" for name, value in values if not math.isfinite(value))
        return f"{bad} {self.at}" if bad else ""


def _of_all(losses: Tensor) -> Tensor:
    """The mean of all processes' losses, so that all see the same and do the same."""
    return ranks.summed(losses) / ranks.world() if ranks.world() > 1 else losses


def as_number(loss: Tensor) -> Tensor:
    """A loss as one number: DataParallel returns one of every device."""
    return loss.mean() if loss.dim() else loss


def finite(tensors: Iterable[Tensor]) -> bool:
    """Whether every number in all of them is finite; one device wait."""
    numbers = [t.detach() for t in tensors if isinstance(t, Tensor) and t.is_floating_point() and t.numel()]
    return bool(get_total_norm(numbers, math.inf).isfinite())  # the largest number: it never overflows
