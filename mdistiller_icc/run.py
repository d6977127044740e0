"""One run, from a configuration to its record: the place where host, data, teachers and trainer meet."""

from __future__ import annotations

import contextlib
import inspect
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from yacs.config import CfgNode

from mdistiller_icc import config, data
from mdistiller_icc.engine import precision, record
from mdistiller_icc.engine.evaluate import evaluate
from mdistiller_icc.engine.kernels import choose_kernels
from mdistiller_icc.engine.progress import Progress
from mdistiller_icc.engine.run_folder import flat, run_name
from mdistiller_icc.engine.schedule import learning_rate
from mdistiller_icc.engine.trainer import OPTIMIZERS, Trainer, seed_everything, trainer_dict
from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.host import Host, lookup
from mdistiller_icc.icc.settings import check as check_recipe
from mdistiller_icc.plugin import register
from mdistiller_icc.teachers import checkpoint, resolve, store

ROLES = ("teacher", "student")


def configure(path: str | None, options: Sequence[str] = (), seed: int | None = None) -> CfgNode:
    """The configuration of a run: the host's schema with ours, a file, overrides, and the seed if it is named.

    Raises:
        UserError: the file or an override is wrong.
    """
    schema = register().host.CFG.clone()
    schema.defrost()
    schema.LOG.WANDB = False  # mdistiller turns it on for everybody
    seeded = [] if seed is None else ["EXPERIMENT.SEED", str(seed)]
    return config.load_config(schema, path, [*options, *seeded])


def resolve_device(name: str) -> torch.device:
    """``auto`` is a GPU where there is one.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("holds no values")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: {str(error).splitlines()[0]}") from None
    return device


def run(
    cfg: CfgNode,
    role: str,
    *,
    options: Sequence[str] = (),
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train what ``cfg`` describes and return its record, which also stands in the run's folder.

    A run of role ``teacher`` is published in the teacher store when it is finished.

    Args:
        cfg: from `configure`.
        role: ``teacher`` or ``student``.
        options: the overrides that were given, which name the run.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, …
        resume: go on with an interrupted run.
        overwrite: start again even if the run, or its teacher, is there; with ``resume``, its teacher alone.
        progress: shows a person how far it is; a bar by default.

    Raises:
        UserError: a mistake in the configuration, a missing data set or teacher, a folder that is taken.
    """
    where = resolve_device(device)
    host, distiller_class, trainer_class, models, student_name, kind = check(cfg)
    if role == "teacher" and kind is None:
        raise UserError(
            f"DISTILLER.TYPE {cfg.DISTILLER.TYPE} trains students (tools/train.py); "
            f"teachers are trained by {' or '.join(store.KINDS)}"
        )

    seed = cfg.EXPERIMENT.SEED or 0
    seed_everything(seed)
    if where.type == "cuda":
        torch.cuda.set_device(where)  # what torch does without naming a device is done there too
    computed_in = precision.resolve(cfg.SOLVER.PRECISION, where)
    choose_kernels(computed_in, where)
    dataset = data.load(cfg, seed, where, memory_format=_layout(cfg, distiller_class, models, student_name, kind))
    name = run_name(cfg, options)
    place = store.path(dataset.name, store.TeacherName(student_name, kind or ""), cfg.EXPERIMENT.SEED)
    if role == "teacher":
        _check_place(place, f"{cfg.EXPERIMENT.PROJECT}/{name}", overwrite)

    teacher = None
    teacher_told = None
    if kind is not None and cfg.DATASET.IMAGES:
        raise UserError(f"DATASET.IMAGES {cfg.DATASET.IMAGES}: nobody labels them, {cfg.DISTILLER.TYPE} has no teacher")
    if kind is None:
        teacher, whose = resolve.load(models, cfg, dataset.classes)
        top1 = _teacher_accuracy(teacher.to(where).eval(), dataset, where, computed_in, str(whose), whose.path)
        teacher_told = whose.record() | {"top1": top1}
        data.label(dataset, teacher, where)

    student = resolve.build(models, student_name, cfg, dataset.num_classes)
    distiller = _distiller(distiller_class, student, teacher, cfg, dataset.num_data).to(where)
    trainer = trainer_class(
        name, distiller, dataset.train, dataset.test, cfg, holdout_loader=dataset.holdout, progress=progress
    )
    told = record.begin(
        cfg, name=name, role=role, seed=seed, precision=computed_in,
        dataset=dataset, host=host, student=student_name, teacher=teacher_told, device=where,
    )  # fmt: skip

    folder = trainer.folder
    before: dict[str, Any] = {}

    def tell(status: str, error: str | None = None) -> None:
        ended = record.now() if status == "finished" else None
        if ended and before.get("status") == status and before.get("epoch") == len(trainer.history):
            ended = before.get("finished")  # there was nothing left to train
        told.update(record.progress(trainer.history), status=status, finished=ended, error=error)
        if not folder.restored:
            folder.write_record(told)

    trainer.on_epoch = lambda: tell("running")
    with folder.alone():
        if resume and folder.begun():
            before = folder.record()
            _check_same_teacher(before.get("teacher"), teacher_told, folder.path)
            told["started"] = before.get("started") or told["started"]
            # What `auto` was where the run began, it stays elsewhere.
            trainer.precision = before.get("protocol", {}).get("precision", computed_in)
            told["protocol"]["precision"] = trainer.precision
        try:
            trainer.train(resume=resume, overwrite=overwrite)
            if role == "teacher":
                told.update(record.progress(trainer.history))
                _check_place(place, resolve.run_of(told), overwrite)  # another run may have come first
                published = resolve.publish(distiller.student, dataset.classes, kind or "", cfg.EXPERIMENT.SEED, told)
                told["digest"] = checkpoint.digest(published)  # by which its students' records name it
        except KeyboardInterrupt:
            tell("interrupted")
            raise
        except Exception as error:
            if trainer.history or not isinstance(error, UserError):
                with contextlib.suppress(OSError):  # it may be why the run failed
                    tell("failed", str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
            raise
        tell("finished")
    if role == "teacher":
        print(f"teacher: {published}")
    return told


def _check_place(place: Path, run: str, overwrite: bool) -> None:
    """Refuse to train a teacher that could not be put into the store.

    Raises:
        UserError: its place is another run's, or cannot be written to.
    """
    if not overwrite:
        resolve.check_place(place, run)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(place.parent, os.W_OK):
        raise UserError(f"{place.parent}: cannot be written to, and the teacher is to be put there")


def _check_same_teacher(before: Any, now: dict[str, Any] | None, folder: Path) -> None:
    """Refuse to go on with another teacher than a student began with.

    Raises:
        UserError: its checkpoint is another one.
    """
    digest = before.get("digest") if isinstance(before, dict) else None
    if digest and now and digest != now["digest"]:
        raise UserError(f"{folder}: cannot be resumed: {now['path']} is no longer the teacher that it began with")


def _trainer(host: Host, name: str) -> type[Trainer]:
    ours = {**trainer_dict, "icc": trainer_dict["base"]}
    if name in host.trainer_dict and name not in ours:
        raise UserError(
            f"SOLVER.TRAINER {name} is the host's own: run it with python -m mdistiller_icc its/tools/train.py"
        )
    return lookup(ours, name, "SOLVER.TRAINER", "trainer")


def _layout(
    cfg: CfgNode, distiller_class: Any, models: dict[str, Any], student: str, kind: str | None
) -> torch.memory_format:
    names = [student]
    if kind is None:
        names.append(resolve.architecture(models, cfg.DISTILLER.TEACHER, "DISTILLER.TEACHER", cfg.DATASET.TYPE))
    entries = [models[name] for name in names]
    factories = [entry[0] if isinstance(entry, tuple) else entry for entry in entries]
    return precision.memory_format(cfg.SOLVER.CHANNELS_LAST, distiller_class, *factories)


class Named(NamedTuple):
    """What a configuration names, found in the host's registries; ``kind`` is that of the teacher it may train."""

    host: Host
    distiller: Any
    trainer: type[Trainer]
    models: dict[str, Any]
    student: str
    kind: str | None


def check(cfg: CfgNode) -> Named:
    """Find what ``cfg`` names and look at its numbers, without data, teachers or a network.

    Raises:
        UserError: a name is unknown, or a number out of range.
    """
    host = register().host
    distiller = lookup(host.distiller_dict, cfg.DISTILLER.TYPE, "DISTILLER.TYPE", "distiller")
    trainer = _trainer(host, cfg.SOLVER.TRAINER)
    models = host.models(cfg.DATASET.TYPE)
    student = resolve.architecture(models, cfg.DISTILLER.STUDENT, "DISTILLER.STUDENT", cfg.DATASET.TYPE)
    kind = store.KINDS.get(cfg.DISTILLER.TYPE)
    if kind is None:
        resolve.architecture(models, cfg.DISTILLER.TEACHER, "DISTILLER.TEACHER", cfg.DATASET.TYPE)
    _check_solver(cfg)
    node = cfg.get(cfg.DISTILLER.TYPE)
    if cfg.DISTILLER.TYPE == "ICC":
        check_recipe(node)
    for key, value in flat(node or {}, f"{cfg.DISTILLER.TYPE}.").items():
        if key.rpartition(".")[2] in ("T", "TEMPERATURE") and value <= 0:
            raise UserError(f"{key} must be above 0, not {value}")
    return Named(host, distiller, trainer, models, student, kind)


def _check_solver(cfg: CfgNode) -> None:
    solver = cfg.SOLVER
    for least, node, keys in (
        (1, "SOLVER", ("EPOCHS", "BATCH_SIZE", "EVAL_EVERY")),
        (1, "LOG", ("SAVE_CHECKPOINT_FREQ",)),
        (0, "SOLVER", ("LR", "MOMENTUM", "WEIGHT_DECAY")),
    ):
        for key in keys:
            if cfg[node][key] < least:
                raise UserError(f"{node}.{key} must be at least {least}, not {cfg[node][key]}")
    if solver.TRAINER in record.DOT_TRAINERS and abs(solver.DOT.DELTA) > solver.MOMENTUM:
        raise UserError(f"SOLVER.DOT.DELTA must be at most SOLVER.MOMENTUM {solver.MOMENTUM}, not {solver.DOT.DELTA}")
    if not all(type(stage) is int for stage in solver.LR_DECAY_STAGES):
        raise UserError(f"SOLVER.LR_DECAY_STAGES wants whole numbers, got {list(solver.LR_DECAY_STAGES)}")
    if (cfg.EXPERIMENT.SEED or 0) >= 2**63:
        raise UserError(f"EXPERIMENT.SEED must be below 2**63, not {cfg.EXPERIMENT.SEED}")
    if solver.TYPE not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise UserError(f"SOLVER.TYPE is one of {known}, not '{solver.TYPE}'{nearest(solver.TYPE, OPTIMIZERS)}")
    precision.resolve(solver.PRECISION, torch.device("cpu"))
    learning_rate(1, solver)


def _distiller(
    distiller_class: Any, student: nn.Module, teacher: nn.Module | None, cfg: CfgNode, num_data: int
) -> nn.Module:
    """Call a distiller's constructor as mdistiller does: some take no teacher, some the number of images."""
    taken = inspect.signature(distiller_class.__init__).parameters
    arguments = {"student": student, "teacher": teacher, "cfg": cfg, "num_data": num_data}
    return distiller_class(**{name: arguments[name] for name in taken if name in arguments})


def _teacher_accuracy(
    teacher: nn.Module, dataset: Any, device: torch.device, computed_in: str, who: str, path: str
) -> float:
    """The teacher's test top-1 in percent, printed.

    Raises:
        UserError: it is no better than chance (less than two standard errors above it), so a wrong
            file or wrong labels, and distilling from it would be a waste.
    """
    accuracy = evaluate(lambda image: teacher(image)[0], dataset.test, device, computed_in)
    print(f"teacher: {who}, test top-1 {accuracy.top1:.2f} % ({path})")
    chance = 1 / dataset.num_classes
    bound = chance + 2 * math.sqrt(chance * (1 - chance) / dataset.test.num_data)
    if accuracy.top1 <= 100 * bound:
        raise UserError(
            f"{path}: the teacher's test top-1 {accuracy.top1:.2f} % is no better than chance "
            f"({100 * chance:.2f} %, two standard errors above it {100 * bound:.2f} %)"
        )
    return accuracy.top1
