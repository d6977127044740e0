"""A configuration and everything it names, found and checked, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from mdistiller_icc import config, pair_settings, plugin, settings
from mdistiller_icc.calling import call
from mdistiller_icc.data import data_set
from mdistiller_icc.distillers.base import Distiller, adopt, check_one_view, check_standardised
from mdistiller_icc.distillers.sum import parts_of, sum_of
from mdistiller_icc.engine import precision
from mdistiller_icc.engine.run_folder import run_name
from mdistiller_icc.engine.trainer import Trainer
from mdistiller_icc.engine.trainers import trainer_dict
from mdistiller_icc.errors import UserError
from mdistiller_icc.host import Host, lookup
from mdistiller_icc.plugin import register
from mdistiller_icc.run import processes, start
from mdistiller_icc.shipped import find_config
from mdistiller_icc.teachers import resolve, store


@dataclass(frozen=True)
class Resolved:
    """What one run is of.

    Attributes:
        name: of the run and its folder.
        models: the host's networks for the data set.
        student: the architecture that is trained.
        teacher_kind: the kind of teacher that it becomes; None if it learns from one.
        place: where it is published in the teacher store if it becomes one and its run is of role ``teacher``.
        precision: ``fp32`` or ``bf16``.
        strong: the strong view that the method wants of each image; None if it learns from one.
    """

    cfg: CfgNode
    name: str
    role: str
    seed: int
    host: Host
    distiller: type[Distiller]
    trainer: type[Trainer]
    models: dict[str, Any]
    student: str
    teacher_kind: str | None
    place: Path
    device: torch.device
    precision: str
    layout: torch.memory_format
    strong: str | None


def configure(path: str | None, options: Sequence[str] = (), seed: int | None = None) -> CfgNode:
    """The configuration of a run: the host's schema with ours, a file, overrides, and the seed if it is named.

    With ``EXPERIMENT.PAIR_SETTINGS published`` what is published for its pair lies below where that is said: below the
    overrides, or below the file as well.

    Args:
        path: a file, or the name of a shipped configuration: ``icc/res110``.

    Raises:
        UserError: the file or an override is wrong, or a setting out of its range.
    """
    host = register(verbose=False).host
    known = host.CFG.clone()
    known.defrost()
    known.LOG.WANDB = False  # mdistiller turns it on for everybody
    seeded = [] if seed is None else ["EXPERIMENT.SEED", str(seed)]
    file = None if path is None else find_config(path)
    cfg = config.load_config(known, file, [*options, *seeded])
    if found := pair_settings.find(cfg, _architecture(cfg)):
        below, above = (file, None) if "EXPERIMENT.PAIR_SETTINGS" in options[::2] else (None, file)
        cfg = config.load_config(config.load_config(known, below, found.options), above, [*options, *seeded])
    settings.check(cfg, plugin.settings(host))
    return cfg


def chosen_settings(cfg: CfgNode) -> pair_settings.Chosen | None:
    """Which settings of a run are those published for its pair; None if it learns from nobody or asks for none."""
    if cfg.DISTILLER.TYPE in store.KINDS or cfg.EXPERIMENT.PAIR_SETTINGS != "published":
        return None
    return pair_settings.chosen(cfg, _architecture(cfg), register(verbose=False).host.CFG)


def _architecture(cfg: CfgNode) -> str:
    """The teacher's, ``resnet56`` of ``resnet56_icc``."""
    name = store.parse(cfg.DISTILLER.TEACHER)
    return name.architecture if name else cfg.DISTILLER.TEACHER


def resolve_device(name: str) -> torch.device:
    """``auto`` is a GPU where there is one; of several processes each has one of its own. A GPU has its number.

    Raises:
        UserError: there is no such device.
    """
    name = processes.own_device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("holds no values")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError, AttributeError, ValueError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        here = ", ".join(["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))])
        raise UserError(f"--device {name[:80]}: {reason[:150]}; here there is {here}") from None
    # Without its number torch makes no device the current one.
    return torch.device("cuda", torch.cuda.current_device()) if str(device) == "cuda" else device


def check(cfg: CfgNode, role: str = "student", options: Sequence[str] = (), device: str = "auto") -> Resolved:
    """Find what ``cfg`` names and look at its numbers; no data, teacher or network is read or built.

    Args:
        cfg: from `configure`.
        role: ``teacher`` or ``student``.
        options: the overrides that were given, which name the run.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, …

    Raises:
        UserError: a name is unknown, or a number out of range.
    """
    processes.check(cfg)
    where = resolve_device(device)
    host, node, dataset = register(verbose=False).host, cfg.DISTILLER, cfg.DATASET.TYPE
    settings.check(cfg, plugin.settings(host))
    distiller = _distiller(host, node.TYPE)
    check_standardised(cfg, distiller, host.distiller_dict)
    trainer = _trainer(host, cfg.SOLVER.TRAINER)
    models = host.models(dataset, cfg.DATASET.IMAGE_SIZE)
    student = resolve.architecture(models, node.STUDENT, "DISTILLER.STUDENT", dataset)
    kind = distiller.teacher_kind
    networks = {student}
    if kind is None:
        networks.add(resolve.architecture(models, node.TEACHER, "DISTILLER.TEACHER", dataset))
    trainer.check(cfg)
    distiller.check(cfg)
    start.check(cfg)
    if data_set(dataset).loaded is not None:
        check_one_view(cfg, distiller, f"{dataset}, given as torch objects, has")
    if kind is None and role == "teacher":
        raise UserError(
            f"DISTILLER.TYPE {node.TYPE} trains students ({call('train')}); "
            f"teachers are trained by {' or '.join(store.KINDS)}"
        )
    if kind is not None and cfg.DATASET.IMAGES:
        raise UserError(f"DATASET.IMAGES {cfg.DATASET.IMAGES}: nobody labels them, {node.TYPE} has no teacher")
    if cfg.DATASET.IMAGES:
        host.models(cfg.DATASET.IMAGES)
    return Resolved(
        cfg=cfg,
        name=run_name(cfg, options),
        role=role,
        seed=cfg.EXPERIMENT.SEED or 0,
        host=host,
        distiller=distiller,
        trainer=trainer,
        models=models,
        student=student,
        teacher_kind=kind,
        place=store.path(dataset, store.TeacherName(student, kind or ""), cfg.EXPERIMENT.SEED),
        device=where,
        precision=precision.resolve(cfg.SOLVER.PRECISION, where),
        layout=precision.memory_format(
            cfg.SOLVER.CHANNELS_LAST, distiller.channels_last and networks <= host.channels_last
        ),
        strong=distiller.strong_view(cfg),
    )


def _distiller(host: Host, name: str) -> type[Distiller]:
    parts = [name] if name in host.distiller_dict else parts_of(name)
    found = {part: adopt(lookup(host.distiller_dict, part, "DISTILLER.TYPE", "distiller")) for part in parts}
    return sum_of(found) if len(parts) > 1 else found[name]


def _trainer(host: Host, name: str) -> type[Trainer]:
    ours = {**trainer_dict, "icc": trainer_dict["base"]}
    if name in host.trainer_dict and name not in ours:
        raise UserError(
            f"SOLVER.TRAINER {name} is the host's own: run it with python -m mdistiller_icc its/tools/train.py"
        )
    return lookup(ours, name, "SOLVER.TRAINER", "trainer")
