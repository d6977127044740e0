"""The configuration and the networks of a measurement, without a run folder or a teacher's file."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from mdistiller_icc.benchmark.images import CLASSES
from mdistiller_icc.engine import precision
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure


def settings(method: str, student: str, teacher: str, *options: str) -> CfgNode:
    """A run's configuration in CIFAR-100's setting."""
    trainer = {"CRD": "crd", "ICC": "icc"}.get(method, "base")
    given = {
        "DISTILLER.TYPE": method,
        "DISTILLER.STUDENT": student,
        "DISTILLER.TEACHER": teacher,
        "SOLVER.TRAINER": trainer,
        "SOLVER.WEIGHT_DECAY": "0.0005",
    }
    return configure(None, [*(text for pair in given.items() for text in pair), *options])


def distiller(cfg: CfgNode, num_data: int, device: torch.device) -> nn.Module:
    """The method around freshly initialised networks: a teacher's weights do not change its speed."""
    host = register().host
    torch.manual_seed(0)

    def build(name: str) -> nn.Module:
        return host.cifar_model_dict[name][0](num_classes=CLASSES)

    made = host.distiller_dict[cfg.DISTILLER.TYPE]
    taken = inspect.signature(made.__init__).parameters
    arguments: dict[str, Any] = {"student": build(cfg.DISTILLER.STUDENT), "cfg": cfg, "num_data": num_data}
    if "teacher" in taken:
        arguments["teacher"] = build(cfg.DISTILLER.TEACHER) if cfg.DISTILLER.TYPE != "NONE" else None
    return made(**{name: value for name, value in arguments.items() if name in taken}).to(device)


def layout(cfg: CfgNode) -> torch.memory_format:
    """The layout of a run's images; every network here is the package's own."""
    return precision.memory_format(cfg.SOLVER.CHANNELS_LAST)
