"""DOT's trainer: cross-entropy and distillation loss are stepped on one after the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from mdistiller_icc.builtin.dot import DOT
from mdistiller_icc.distillers.base import checked
from mdistiller_icc.engine import parallel, precision
from mdistiller_icc.engine.trainer import Trainer
from mdistiller_icc.errors import UserError


class DOTTrainer(Trainer):
    """Distillation-Oriented Trainer (Zhao et al., ICCV 2023): the two losses have momenta of their own."""

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        """Look at ``SOLVER.DOT.DELTA``: neither momentum may become negative.

        Raises:
            UserError: it is larger than the momentum.
        """
        solver = cfg.SOLVER
        if abs(solver.DOT.DELTA) > solver.MOMENTUM:
            raise UserError(
                f"SOLVER.DOT.DELTA must be at most SOLVER.MOMENTUM {solver.MOMENTUM}, not {solver.DOT.DELTA}"
            )

    @classmethod
    def settings(cls, cfg: CfgNode) -> dict[str, Any]:
        """Δ, which parts the two momenta."""
        return {"DOT": {"DELTA": cfg.SOLVER.DOT.DELTA}}

    def init_optimizer(self, cfg: CfgNode) -> torch.optim.Optimizer:
        """`DOT`, whatever ``SOLVER.TYPE`` says, over everything learnable."""
        solver = cfg.SOLVER
        self.dot = DOT(
            self.distiller.get_learnable_parameters(),
            lr=solver.LR,
            momentum=solver.MOMENTUM - solver.DOT.DELTA,
            momentum_kd=solver.MOMENTUM + solver.DOT.DELTA,
            weight_decay=solver.WEIGHT_DECAY,
        )
        return self.dot

    def _step(self, inputs: dict[str, Tensor], epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        self.optimizer.zero_grad(set_to_none=True)
        with precision.autocast(self.precision, self.device):
            logits, losses = checked(self.training_pass(**inputs, epoch=epoch), self.cfg.DISTILLER.TYPE)
        for name in ("loss_ce", "loss_kd"):
            if name not in losses or not losses[name].requires_grad:
                what = f"{self.cfg.DISTILLER.TYPE} trains on no {name}"
                raise UserError(f"SOLVER.TRAINER {self.cfg.SOLVER.TRAINER} parts two losses, and {what}")
        self.weighed(losses["loss_kd"]).backward(retain_graph=True)
        parallel.average_gradients(self.distiller.get_learnable_parameters())
        self.dot.step_kd()
        self.optimizer.zero_grad(set_to_none=True)
        self.weighed(losses["loss_ce"]).backward()
        parallel.average_gradients(self.distiller.get_learnable_parameters())
        if self.watch.takes(losses, self.optimizer, self.dot.kd_gradients.values()):
            self.optimizer.step()
        return logits, losses
