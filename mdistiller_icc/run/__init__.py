"""One run, from a configuration to its record: the place where host, data, teachers and trainer meet."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from mdistiller_icc import data, ranks
from mdistiller_icc.distillers import base
from mdistiller_icc.engine.compiled import advice
from mdistiller_icc.engine.evaluate import evaluate
from mdistiller_icc.engine.generators import seed_everything
from mdistiller_icc.engine.kernels import choose_kernels
from mdistiller_icc.engine.progress import Progress, Silent, evaluating
from mdistiller_icc.engine.run_folder import RunFolder
from mdistiller_icc.errors import UserError
from mdistiller_icc.paths import make_folder
from mdistiller_icc.plugin import news
from mdistiller_icc.probe import probe
from mdistiller_icc.run import start
from mdistiller_icc.run.processes import check_smallest, first_here, group
from mdistiller_icc.run.record import Record
from mdistiller_icc.run.resolved import Resolved, check, chosen_settings, configure, resolve_device
from mdistiller_icc.teachers import resolve
from mdistiller_icc.teachers.trained import by_run

__all__ = ["check", "chosen_settings", "configure", "resolve_device", "run"]
ROLES = ("teacher", "student")


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
        UserError: a mistake in the configuration, a missing data set or teacher, a folder that is taken, a loss that is
            not finite.
    """
    found = check(cfg, role, options, device)
    if found.device.type == "cuda":
        torch.cuda.set_device(found.device)  # what torch does without naming a device is done there too
    with group(found.device):
        return _run(found, resume, overwrite, progress)


def _run(found: Resolved, resume: bool, overwrite: bool, progress: Progress | None) -> dict[str, Any]:
    cfg, role = found.cfg, found.role
    seed_everything(found.seed)
    choose_kernels(found.precision, found.device)
    if settings := chosen_settings(cfg):
        print(f"settings: {settings}")
    with first_here():
        dataset = data.load(cfg, found.seed, found.device, memory_format=found.layout, strong=found.strong)
    there = RunFolder(cfg, found.name).begun()
    if role == "teacher":
        ranks.from_first(lambda: check_place(found, overwrite, dataset.tree, there))

    teacher, whose = (None, None) if found.teacher_kind else _teacher(found, dataset, isinstance(progress, Silent))
    begun = resume and there  # then its own checkpoint has all
    make = resolve.build if begun else resolve.begin
    student = make(found.models, found.student, cfg, dataset.num_classes)
    begins = (
        start.start(student, cfg, found.student, dataset.classes) if cfg.DISTILLER.STUDENT_CKPT and not begun else None
    )
    _check_outputs(student, found.student, dataset)
    if teacher is not None:
        teacher.cpu()  # where a method of mdistiller's tries its networks on an image, before its script moves them all
    distiller = base.build(found.distiller, student, teacher, cfg, dataset.num_data).to(found.device)
    trainer = found.trainer(
        found.name, distiller, dataset.train, dataset.test, cfg, holdout_loader=dataset.holdout, progress=progress
    )
    if not dataset.train.sizes:
        raise UserError(f"{dataset.name}: {dataset.num_data} images make no batch; drop_last leaves them out")
    check_smallest(min(dataset.train.sizes), trainer.least_images)
    if min(dataset.train.sizes) == 1:
        _check_single(student, dataset.image_size)
    for line in [*news(), advice(cfg.SOLVER.COMPILE, found.device)]:
        if line:
            trainer.progress.about(line)
    record = Record(found, dataset, whose, trainer, begins)

    with trainer.folder.alone(), record.kept():
        trainer.train(resume=resume, overwrite=overwrite)
        if role == "teacher":
            ranks.from_first(lambda: publish(found, overwrite, record, distiller.student, dataset.tree, there))
    if role == "teacher":
        print(f"teacher: {found.place}")
    return record.told


def _check_outputs(model: nn.Module, name: str, dataset: Any) -> None:
    """Refuse a network that does not tell the classes of the data set apart, before a run's folder is begun.

    Raises:
        UserError: it returns something else than it should, or has more or fewer logits than there are classes.
    """
    logits, _ = probe(model, dataset.image_size)
    if logits.shape[1] != dataset.num_classes:
        raise UserError(f"{name}: makes {logits.shape[1]} logits, and {dataset.name} has {dataset.num_classes} classes")


def _check_single(student: nn.Module, image_size: int) -> None:
    """Refuse batches of one image to a network with a batch norm that would see one value a channel.

    Raises:
        UserError: it has one.
    """
    trial = copy.deepcopy(student).eval()
    for layer in trial.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.train()
    try:
        with torch.no_grad():
            trial(torch.zeros(1, 3, image_size, image_size, device=next(trial.parameters()).device))
    except ValueError as error:
        what = f"{type(student).__name__} does not train on a batch of one image of {image_size} pixels ({error})"
        raise UserError(f"{what}; take another SOLVER.BATCH_SIZE, or the loader's own") from error


def publish(
    found: Resolved,
    overwrite: bool,
    record: Record,
    student: nn.Module,
    tree: str | None = None,
    begun: bool = False,
) -> None:
    """Put a trained teacher into the store; as for `check_place`, which is asked again: another may have come first."""
    check_place(found, overwrite, tree, begun)
    record.publish(student)


def check_place(found: Resolved, overwrite: bool, tree: str | None = None, begun: bool = False) -> None:
    """Refuse to train a teacher that could not be put into the store.

    Args:
        begun: the run's folder held epochs of it when it was started.

    Raises:
        UserError: its place is another run's, or cannot be written to.
    """
    if not overwrite:
        run = f"{found.cfg.EXPERIMENT.PROJECT}/{found.name}"
        gives_way = resolve.check_place(found.place, run, found.cfg, tree, begun)
        if gives_way:
            print(gives_way)
    folder = found.place.parent
    make_folder(folder)
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder}: cannot be written to, and the teacher is to be put there")


def _teacher(found: Resolved, dataset: Any, quiet: bool) -> tuple[nn.Module, dict[str, Any]]:
    """The teacher, which labels the images that have no label, and what the record tells of it.

    Raises:
        UserError: there is none, or it is no better than chance.
    """
    teacher, whose = resolve.load(found.models, found.cfg, dataset.classes, dataset.tree)
    resolve.tell_training(whose.path, whose.trained, found.cfg)
    _check_outputs(teacher.to(found.device), whose.architecture, dataset)
    top1 = _teacher_accuracy(teacher.eval(), dataset, found, whose, quiet)
    data.label(dataset, teacher, found.device)
    return teacher, whose.record() | {"top1": top1}


def _teacher_accuracy(teacher: nn.Module, dataset: Any, found: Resolved, whose: resolve.Teacher, quiet: bool) -> float:
    """The teacher's test top-1 in percent, printed.

    Raises:
        UserError: it is no better than chance (less than two standard errors above it), so a wrong
            file or wrong labels, and distilling from it would be a waste; said only, if its training was short.
    """
    batches = evaluating(dataset.test, "the teacher", quiet or not ranks.is_first())
    accuracy = evaluate(lambda image: teacher(image)[0], batches, found.device, found.precision)
    print(f"teacher: {whose}, test top-1 {accuracy.top1:.2f} % ({whose.path})")
    chance = 1 / dataset.num_classes
    bound = chance + 2 * math.sqrt(chance * (1 - chance) / dataset.test.num_data)
    if accuracy.top1 <= 100 * bound:
        told = (
            f"{whose.path}: the teacher's test top-1 {accuracy.top1:.2f} % is no better than chance "
            f"({100 * chance:.2f} %, two standard errors above it {100 * bound:.2f} %)"
        )
        trained = whose.trained
        if trained is None or not (trained.is_trial() or trained.shorter_than(by_run(found.cfg))):
            raise UserError(told)
        print(f"{told}; it was trained for {trained} only")
    return accuracy.top1
