"""The trainers that ``SOLVER.TRAINER`` names."""

from __future__ import annotations

from mdistiller_icc.engine.dot_trainer import DOTTrainer
from mdistiller_icc.engine.trainer import Trainer

trainer_dict: dict[str, type[Trainer]] = {"base": Trainer, "crd": Trainer, "dot": DOTTrainer, "crd_dot": DOTTrainer}
"""mdistiller's trainers; ``crd`` differs from ``base`` only in what its loader yields."""
