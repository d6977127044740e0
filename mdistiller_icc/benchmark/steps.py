"""Single training steps in one process, in turn: what ICC adds to plain training, what each method's loss costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from mdistiller_icc import data
from mdistiller_icc.benchmark import images
from mdistiller_icc.benchmark.device import device_for, wait_for
from mdistiller_icc.benchmark.ratio import alternate, ratio
from mdistiller_icc.benchmark.settings import distiller, layout, settings
from mdistiller_icc.engine.precision import autocast
from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.engine.trainer import BATCH, Trainer
from mdistiller_icc.plugin import register
from mdistiller_icc.teachers.checkpoint import load_into, read_state

RECIPES = {
    "plain": ("NONE",),
    # A margin of -1 lets every sample pass: the most anchors there can be.
    "view": ("ICC", "ICC.POSITIVE", "view", "ICC.MARGIN", "-1"),
    "memory": ("ICC", "ICC.POSITIVE", "memory", "ICC.MARGIN", "-1"),
}


class Stepper:
    """A method with its trainer, taking one training step a call."""

    def __init__(self, method: str, student: str, teacher: str, options: list[str]) -> None:
        cfg = settings(method, student, teacher, *options)
        device = device_for(cfg)
        self.dataset = data.load(cfg, 0, device, memory_format=layout(cfg))
        self.distiller = distiller(cfg, self.dataset.num_data, device)
        self.trainer = Trainer("benchmark", self.distiller, self.dataset.train, [], cfg, progress=Silent())
        self.distiller.train()
        self.batches = iter(self.dataset.train)
        self.second_views = 0
        self.steps = 0
        if hasattr(self.distiller, "views"):
            self.views, self.distiller.views = self.distiller.views, self._counted

    @torch.compiler.disable
    def _counted(self, index: Tensor) -> Tensor:
        self.second_views += len(index)
        return self.views(index)

    def next_batch(self) -> dict[str, Tensor]:
        return dict(zip(BATCH, next(self.batches), strict=False))

    def step(self, batch: dict[str, Tensor] | None = None) -> None:
        self.steps += 1
        self.trainer.step(batch or self.next_batch(), epoch=1)
        wait_for(self.trainer.device)


def overhead(
    student: str, root: str | None, rounds: int, options: list[str], checkpoint: str | None = None
) -> dict[str, Any]:
    """What an ICC step costs over a cross-entropy step of the same network, both with their loading of images.

    With ``extra images``, by how much the second views enlarge a batch, which no implementation can avoid, and the
    share of samples that ``passed`` the gate: all of them, but for another ``ICC.MARGIN`` in the options.

    Args:
        checkpoint: a teacher's file that the networks begin from; else they begin from nothing.
    """
    images.install(images.source(root))
    steppers = {name: Stepper(r[0], student, student, [*r[1:], *options]) for name, r in RECIPES.items()}
    if checkpoint is not None:
        for stepper in steppers.values():
            load_into(stepper.distiller.student, read_state(checkpoint), checkpoint, student)
    # The queues need some 900 samples to fill; until then there are no anchors.
    for _ in range(20):
        steppers["view"].step()
        steppers["memory"].step()
    for name, stepper in steppers.items():
        stepper.second_views = stepper.steps = 0
        if name != "plain":
            stepper.distiller.diagnostics()  # of what follows alone
    seconds = alternate({name: stepper.step for name, stepper in steppers.items()}, rounds, limit=100.0)
    result: dict[str, Any] = {"student": student, "options": options}
    for name in ("view", "memory"):
        stepper = steppers[name]
        result[name] = {
            "ratio": ratio(seconds[name], seconds["plain"])._asdict(),
            "extra images": stepper.second_views / (stepper.steps * stepper.dataset.train.batch_size),
            "passed": stepper.distiller.diagnostics()["icc/passed"],
        }
    return result


def losses(teacher: str, student: str, root: str | None, rounds: int, options: list[str]) -> dict[str, Any]:
    """Each method's loss, forward and backward, against the forward pass of its two networks.

    The networks' outputs are recorded and played back, so that only what the method adds is timed.
    """
    images.install(images.source(root))
    host = register().host
    own = [name for name in host.distiller_dict if name not in ("NONE", "ICC")]
    return {name: _loss_share(name, teacher, student, rounds, options) for name in own}


def _loss_share(method: str, teacher: str, student: str, rounds: int, options: list[str]) -> dict[str, Any]:
    stepper = Stepper(method, student, teacher, options)
    module, batch, device = stepper.distiller, stepper.next_batch(), stepper.trainer.device
    region = partial(autocast, stepper.trainer.precision, device)
    networks = module.student.forward, module.teach
    played = [_played(network) for network in networks]
    module.student.forward, module.teach = played

    def loss() -> None:
        with region():
            parts = module(**batch, epoch=1)[1].values()
        sum(part.mean() for part in parts).backward()
        wait_for(device)

    def forward() -> None:
        with torch.no_grad(), region():
            for network in networks:
                network(batch["image"])
        wait_for(device)

    seconds = alternate({"loss": loss, "forward": forward}, rounds, limit=20.0)
    return {"ratio": ratio(seconds["loss"], seconds["forward"])._asdict()}


def _played(network: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    """What ``network`` returns for the first batch of each size, played back as leaves that want a gradient."""
    recorded: dict[int, Any] = {}

    def forward(image: Tensor) -> Any:
        if len(image) not in recorded:
            with torch.no_grad():
                recorded[len(image)] = network(image)
        return tree_map(lambda t: t.detach().requires_grad_(network.__name__ != "teach"), recorded[len(image)])

    return forward
