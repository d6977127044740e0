"""What an ICC training step costs over a cross-entropy step, and how much of that the images of second views cost."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.ours import configuration, load, trainer
from benchmarks.ratio import alternate, ratio
from benchmarks.side import wait
from mdistiller_icc.teachers import weights

RECIPES = {
    "memory": ["ICC.POSITIVE", "memory"],
    "view": ["ICC.POSITIVE", "view", "ICC.QUEUE.POLICY", "clear"],
}
STEADY = ["SOLVER.LR", "0", "ICC.MARGIN", "-1"]
"""Weights that stay what they are, so that the last step is like the first, and a gate that every sample passes."""
BATCHES = 20
"""Different ones; after them queues of 8 are full and `memory` has seen every image."""


class Stepper:
    """A method with its trainer, taking one training step a call, on the same few batches again and again."""

    def __init__(self, method: str, student: str, checkpoint: str | None, options: Sequence[str]) -> None:
        cfg = configuration(method, student, student, [*STEADY, *options])
        dataset = load(cfg)
        self.trainer = trainer(cfg, dataset, dataset.train, [])
        self.distiller: Any = self.trainer.distiller.train()
        network = self.trainer.distiller.get_submodule("student")
        if checkpoint is not None:
            weights.load(network, checkpoint, student)
        network.register_forward_pre_hook(self._see)
        loaders = itertools.repeat(dataset.train)
        batches = itertools.chain.from_iterable(itertools.islice(loader, BATCHES) for loader in loaders)
        self.batches = (dict(zip(("image", "target", "index"), batch, strict=True)) for batch in batches)
        self.size, self.spare = dataset.train.batch_size, next(self.batches)
        self.extra = [0]
        """By how many images the forward pass of each step was larger than a batch."""

    def _see(self, _network: Any, inputs: Any) -> None:
        self.seen = len(inputs[0])  # only set: compiled code would be made anew for each value it reads

    def step(self, like: Stepper | None = None) -> None:
        """A step on the next batch, enlarged by as many images as the last step of another was."""
        batch = next(self.batches)
        if like and like.extra[-1]:
            batch = {name: torch.cat([tensor, self.spare[name][: like.extra[-1]]]) for name, tensor in batch.items()}
        self.trainer.step(batch, epoch=1)
        wait()
        self.extra.append(self.seen - self.size)


def measure(student: str, checkpoint: str | None, rounds: int, options: Sequence[str]) -> dict[str, Any]:
    """Take steps with cross-entropy alone and with ICC in turn, in one process, each with its loading of images.

    Of each way to find positives: the ratio of a step to cross-entropy's; the share of images that the network sees
    beyond the batch; the ratio that cross-entropy alone has with as many images; the share that passed the gate.

    Raises:
        UserError: no such network, no such file, or a setting is wrong.
    """
    plain, enlarged = (Stepper("NONE", student, checkpoint, options) for _ in range(2))
    recipes = {name: Stepper("ICC", student, checkpoint, [*given, *options]) for name, given in RECIPES.items()}
    calls: dict[str, Callable[[], object]] = {"plain": plain.step}
    for name, stepper in recipes.items():
        for _ in range(BATCHES + 1):
            stepper.step()
        stepper.extra.clear()
        stepper.distiller.diagnostics()  # from here on of what follows alone
        calls |= {name: stepper.step, f"{name}'s images": partial(enlarged.step, stepper)}
    seconds = alternate(calls, rounds, limit=150.0)
    result: dict[str, Any] = {"student": student, "milliseconds": round(1000 * statistics.median(seconds["plain"]), 1)}
    for name, stepper in recipes.items():
        result[name] = {
            "ratio": ratio(seconds[name], seconds["plain"]),
            "extra images": round(statistics.mean(stepper.extra) / stepper.size, 4),
            "ratio of extra images alone": ratio(seconds[f"{name}'s images"], seconds["plain"]),
            "passed": stepper.distiller.diagnostics()["icc/passed"],
        }
    return result
