"""The distillation-oriented optimiser: the task and the teacher each have a momentum of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class DOT(Optimizer):
    """SGD with one momentum buffer for the gradients of each of two losses.

    Zhao et al., "DOT: A Distillation-Oriented Trainer", ICCV 2023, arXiv:2307.08436: the distillation loss
    gets the larger momentum (μ + Δ) and so leads, the task loss the smaller (μ − Δ). A parameter that only
    one of the losses reaches in a step uses the mean of the two. Weight decay belongs to the task gradient;
    a parameter without one gets it with its distillation gradient, from that gradient's second step on, as
    in mdistiller.

    Args:
        params: parameters or parameter groups.
        lr: learning rate.
        momentum: of the task loss, μ − Δ.
        momentum_kd: of the distillation loss, μ + Δ.
        weight_decay: L2 factor.

    Example::

        loss_kd.backward(retain_graph=True)
        optimizer.step_kd()
        loss_ce.backward()
        optimizer.step()
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.0,
        momentum_kd: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        settings = {"lr": lr, "momentum": momentum, "momentum_kd": momentum_kd, "weight_decay": weight_decay}
        for name, value in settings.items():
            if value < 0:
                raise ValueError(f"{name} is {value}, but must not be negative")
        super().__init__(params, settings)
        self.kd_gradients: dict[Tensor, Tensor] = {}
        """Of the distillation loss, between `step_kd` and `step`."""

    def step_kd(self) -> None:
        """Take the gradients as those of the distillation loss, and clear them; `step` uses and forgets them."""
        self.kd_gradients = {p: p.grad for group in self.param_groups for p in group["params"] if p.grad is not None}
        self.zero_grad(set_to_none=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters with the task gradients they hold and the distillation gradients taken before."""
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        kd = self.kd_gradients
        self.kd_gradients = {}
        for group in self.param_groups:
            task = {p: p.grad for p in group["params"] if p.grad is not None}
            both = [p for p in task if p in kd]
            task_only = [p for p in task if p not in kd]
            kd_only = [p for p in group["params"] if p in kd and p not in task]
            momentum, momentum_kd, decay = group["momentum"], group["momentum_kd"], group["weight_decay"]
            mean = (momentum + momentum_kd) / 2
            updates = [
                *self._accumulate("momentum_buffer", both, task, momentum, decay, decay),
                *self._accumulate("momentum_buffer", task_only, task, mean, decay, decay),
                *self._accumulate("momentum_kd_buffer", both, kd, momentum_kd, 0.0, 0.0),
                *self._accumulate("momentum_kd_buffer", kd_only, kd, mean, 0.0, decay),
            ]
            _add(both + task_only, updates[: len(task)], -group["lr"])
            _add(both + kd_only, updates[len(task) :], -group["lr"])
        return result

    def _accumulate(
        self,
        name: str,
        params: list[Tensor],
        gradients: dict[Tensor, Tensor],
        momentum: float,
        first_decay: float,
        decay: float,
    ) -> list[Tensor]:
        """Bring the buffers ``name`` of ``params`` up to date and return them, in order."""
        new = [p for p in params if name not in self.state[p]]
        old = [p for p in params if name in self.state[p]]
        for p in new:
            self.state[p][name] = gradients[p].add(p, alpha=first_decay)
        buffers = [self.state[p][name] for p in old]
        if buffers:
            torch._foreach_mul_(buffers, momentum)
            _add(buffers, [gradients[p] for p in old], 1.0)
            if decay:
                _add(buffers, old, decay)
        return [self.state[p][name] for p in params]


def _add(tensors: list[Tensor], others: list[Tensor], alpha: float) -> None:
    if tensors:
        torch._foreach_add_(tensors, others, alpha=alpha)
