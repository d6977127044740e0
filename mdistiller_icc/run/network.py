"""The network in a checkpoint: what the file, or the record beside it, says of itself, and the network built."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.errors import UserError
from mdistiller_icc.paths import expand
from mdistiller_icc.teachers import checkpoint, resolve


@dataclass(frozen=True)
class About:
    """What is known of a checkpoint's network before it is built; None where nobody says it.

    Attributes:
        classes: its class names in label order; empty where only their number, or not even that, is known.
        image_size: of its training images, where that was not the data set's own.
    """

    architecture: str | None = None
    dataset: str | None = None
    num_classes: int | None = None
    classes: tuple[str, ...] = ()
    image_size: int | None = None

    @property
    def options(self) -> list[str]:
        """The data set and, where it was not its own, the size of its images, as overrides of a configuration."""
        dataset = ["DATASET.TYPE", self.dataset] if self.dataset else []
        return dataset + (["DATASET.IMAGE_SIZE", str(self.image_size)] if self.image_size else [])


def about(file: str | Path) -> About:
    """What a checkpoint's ``meta`` says, or the ``record.json`` beside it.

    Raises:
        UserError: it cannot be read.
    """
    file = expand(file, "CHECKPOINT")
    told = resolve.told_by(checkpoint.read(file))
    if "architecture" in told:
        classes = tuple(told.get("classes", ()))
        size = told.get("protocol", {}).get("image_size")
        return _checked(About(told["architecture"], told.get("dataset"), len(classes) or None, classes, size))
    try:
        record = json.loads(file.with_name("record.json").read_text(encoding="utf-8"))
        student, size = record["student"], record.get("protocol", {}).get("image_size")
        return _checked(
            About(student["architecture"], record.get("dataset"), record.get("num_classes"), image_size=size)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # there is none, or it is not a run's
        return About()


def _checked(told: About) -> About:
    """What is told if every value is of its type, and a count a count; else nothing."""
    texts = all(isinstance(text, str) for text in (told.architecture, told.dataset, *told.classes) if text is not None)
    counts = all(type(count) is int and count > 0 for count in (told.num_classes, told.image_size) if count is not None)
    return told if texts and counts else About()


def load(
    models: dict[str, Any], cfg: CfgNode, file: str, architecture: str | None, classes: tuple[str, ...]
) -> tuple[nn.Module, resolve.Teacher]:
    """The network of a checkpoint with its weights, in eval mode, and what is known of it.

    Args:
        models: the host's model dictionary for the data set.
        cfg: reads ``DISTILLER.STUDENT``, the architecture where nobody says another, and ``DATASET.TYPE``.
        file: empty for the trained network that belongs to the architecture's name, as for a teacher.
        architecture: as the user or the file says it.
        classes: the data set's class names, in label order.

    Raises:
        UserError: there is no such file or network, or it is not of this architecture and these classes.
    """
    named = cfg.clone()
    named.defrost()
    named.DISTILLER.TEACHER = architecture or cfg.DISTILLER.STUDENT
    named.DISTILLER.TEACHER_CKPT = file
    try:
        network, whose = resolve.load(models, named, classes)
    except UserError as error:
        if architecture:
            raise
        raise UserError(f"{error}; the file does not say its architecture: name it with DISTILLER.STUDENT") from None
    return network.eval(), whose


class Logits(nn.Module):
    """A network that returns its logits (B, C) and nothing else."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.train(network.training)

    def forward(self, image: Tensor) -> Tensor:
        """The logits of images (B, 3, H, W)."""
        output = self.network(image)
        logits: Tensor = output[0] if isinstance(output, tuple) else output
        return logits
