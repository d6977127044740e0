"""The training loop of detectors: the engine's, with what is theirs alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mdistiller_icc.detection.evaluation import evaluate
from mdistiller_icc.detection.models import has_masks
from mdistiller_icc.engine.schedule import learning_rate
from mdistiller_icc.engine.trainer import Trainer


class DetectionTrainer(Trainer):
    """Trains a `Detector`; the learning rate rises over ``DETECTION.WARMUP_STEPS``, and AP is what counts.

    Its loaders are `TrainLoader` and `EvaluationLoader`; what they yield is a list of images and one of targets.
    """

    score = "test_box_ap"

    def inputs(self, batch: Any) -> dict[str, Any]:
        """The images and their targets, on the device."""

        def moved(value: Any) -> Any:
            return value.to(self.device, non_blocking=True) if isinstance(value, Tensor) else value

        images, targets = batch
        of_each = [{key: moved(value) for key, value in target.items()} for target in targets]
        return {"image": [*map(moved, images)], "target": of_each}

    def step(self, inputs: dict[str, Any], epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """One optimisation step, at the rate of this step while the rate still rises."""
        node, done = self.cfg.DETECTION, (epoch - 1) * len(self.train_loader) + self.watch.step - 1
        if done <= node.WARMUP_STEPS:
            share = min(1.0, done / node.WARMUP_STEPS) if node.WARMUP_STEPS else 1.0
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(epoch, self.cfg.SOLVER) * (node.WARMUP_FACTOR * (1 - share) + share)
        return super().step(inputs, epoch)

    def tally(self, logits: Tensor, target: Any) -> None:
        """Proposals, unlike images, have no accuracy that anybody asks for."""

    def tallied(self, count: int) -> dict[str, float]:
        """Nothing; see `tally`."""
        return {}

    def tested(self, epoch: int) -> dict[str, Any]:
        """The figures of `evaluate` on the test images."""
        masks = has_masks(self.cfg.DISTILLER.STUDENT)
        seen = self.progress.step
        figures = evaluate(self.distiller.student, self.val_loader, self.device, self.precision, masks, seen)
        return {f"test_{name}": value for name, value in figures.items()}
