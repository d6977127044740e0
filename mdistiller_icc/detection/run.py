"""One run of a detector, from a configuration to its record; `mdistiller_icc.run` has that of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from torch import nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from yacs.config import CfgNode

from mdistiller_icc import ranks, settings
from mdistiller_icc.calling import call
from mdistiller_icc.detection import loaders, models
from mdistiller_icc.detection.distillers import ALONE, TAUGHT, distiller
from mdistiller_icc.detection.evaluation import evaluate, needed
from mdistiller_icc.detection.settings import every, known
from mdistiller_icc.detection.trainer import DetectionTrainer
from mdistiller_icc.distillers import base
from mdistiller_icc.engine import precision
from mdistiller_icc.engine.generators import seed_everything
from mdistiller_icc.engine.kernels import choose_kernels
from mdistiller_icc.engine.progress import Progress
from mdistiller_icc.engine.run_folder import RunFolder, run_name
from mdistiller_icc.errors import UserError
from mdistiller_icc.host import Host
from mdistiller_icc.paths import expand
from mdistiller_icc.run import check_place, processes, publish, resolve_device
from mdistiller_icc.run.record import Record
from mdistiller_icc.run.resolved import Resolved
from mdistiller_icc.tables.metrics import AP
from mdistiller_icc.teachers import checkpoint, resolve, store

OF_PROTOCOL = ("EPOCH_STEPS", "WARMUP_STEPS", "WARMUP_FACTOR", "MIN_SIZE", "MAX_SIZE", "BACKBONE", "TRAINABLE", "NORM",
               "FPN_CHANNELS", "BOX_WIDTH", "MASK_WIDTH", "ANCHORS", "RPN_KEPT", "PROPOSALS")  # fmt: skip
"""What of the node ``DETECTION`` a record tells as part of the protocol."""


class DetectionRecord(Record):
    """The record of a detector's run: average precisions take the place of accuracies."""

    metrics = tuple(AP)


class Teacher(NamedTuple):
    """The detector that is learnt from: its architecture, kind and checkpoint, None where that is torchvision's."""

    architecture: str
    kind: str
    file: Path | None


def host() -> Host:
    """torchvision in a host's place: where detectors and what trains them come from."""
    return Host(
        name="torchvision",
        version=str(torchvision.__version__),
        path=str(Path(torchvision.__file__).parent),
        CFG=known(),
        distiller_dict={**ALONE, **TAUGHT},
        trainer_dict={"base": DetectionTrainer},
        cifar_model_dict={},
        tiny_imagenet_model_dict={},
        imagenet_model_dict={},
    )


def check(cfg: CfgNode, role: str = "student", options: Sequence[str] = (), device: str = "auto") -> Resolved:
    """Find what ``cfg`` names and look at its numbers; no data, teacher or network is read or built.

    Args:
        cfg: from `detection.settings.configure`.
        role: ``teacher`` or ``student``; a teacher is put into the store.
        options: the overrides that were given, which name the run.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, …

    Raises:
        UserError: a name is unknown, or a number out of range.
    """
    needed()
    processes.check(cfg)
    where = resolve_device(device)
    settings.check(cfg, every())
    kind = distiller(cfg.DISTILLER.TYPE)
    kind.check(cfg)
    student = models.check(cfg.DISTILLER.STUDENT, "DISTILLER.STUDENT")
    if kind.teacher_kind is None:
        teacher(cfg)
        if role == "teacher":
            raise UserError(
                f"--teacher: DISTILLER.TYPE {cfg.DISTILLER.TYPE} trains students; {' or '.join(ALONE)} train teachers"
            )
    if cfg.DETECTION.BACKBONE not in models.BEGINNINGS and not _backbone(cfg).is_file():
        raise UserError(f"DETECTION.BACKBONE {cfg.DETECTION.BACKBONE}: neither imagenet nor none, nor a file")
    if cfg.DETECTION.MAX_SIZE < max(cfg.DETECTION.MIN_SIZE):
        raise UserError(
            f"DETECTION.MAX_SIZE must be at least the largest of DETECTION.MIN_SIZE, not {cfg.DETECTION.MAX_SIZE}"
        )
    return Resolved(
        cfg=cfg,
        name=run_name(cfg, options),
        role=role,
        seed=cfg.EXPERIMENT.SEED or 0,
        host=host(),
        distiller=kind,
        trainer=DetectionTrainer,
        models={},
        student=student,
        teacher_kind=kind.teacher_kind,
        place=store.path(cfg.DATASET.TYPE, store.TeacherName(student, kind.teacher_kind or ""), cfg.EXPERIMENT.SEED),
        device=where,
        precision=precision.resolve(cfg.SOLVER.PRECISION, where),
        layout=torch.contiguous_format,
        strong=None,
    )


def _backbone(cfg: CfgNode) -> Path:
    return expand(cfg.DETECTION.BACKBONE, "DETECTION.BACKBONE")


def teacher(cfg: CfgNode) -> Teacher:
    """The detector that ``DISTILLER.TEACHER`` names.

    Raises:
        UserError: there is none of that name, or no weights of it.
    """
    node = cfg.DISTILLER
    stored = store.parse(node.TEACHER)
    name = models.check(stored.architecture if stored else node.TEACHER, "DISTILLER.TEACHER")
    if node.TEACHER_CKPT:
        return Teacher(name, "file", expand(node.TEACHER_CKPT, "DISTILLER.TEACHER_CKPT"))
    if stored:
        file = store.path(cfg.DATASET.TYPE, stored, node.TEACHER_SEED)
        recipe = {kind: type_ for type_, kind in store.KINDS.items()}[stored.kind]
        if not file.is_file():
            train = f"{call('detection')} --teacher --cfg … DISTILLER.TYPE {recipe} DISTILLER.STUDENT {name}"
            raise UserError(f"{file}: no such teacher; train it: {train}")
        return Teacher(name, stored.kind, file)
    if name not in models.TORCHVISIONS:
        raise UserError(
            f"DISTILLER.TEACHER {name}: torchvision has no weights of it; name {name}_vanilla or {name}_icc, or a file "
            "with DISTILLER.TEACHER_CKPT"
        )
    return Teacher(name, "pretrained", None)


def run(
    cfg: CfgNode,
    role: str = "student",
    *,
    options: Sequence[str] = (),
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train the detector that ``cfg`` describes and return its record, as `mdistiller_icc.run.run` does a classifier.

    Raises:
        UserError: a mistake in the configuration, missing data or teacher, a folder that is taken, a loss that is not
            finite.
    """
    found = check(cfg, role, options, device)
    if found.device.type == "cuda":
        torch.cuda.set_device(found.device)
    with processes.group(found.device):
        return _run(found, resume, overwrite, progress)


def _run(found: Resolved, resume: bool, overwrite: bool, progress: Progress | None) -> dict[str, Any]:
    cfg = found.cfg
    seed_everything(found.seed)
    choose_kernels(found.precision, found.device)
    data = loaders.load(cfg, found.seed, models.has_masks(found.student))
    begun = RunFolder(cfg, found.name).begun()
    if found.role == "teacher":
        ranks.from_first(lambda: check_place(found, overwrite, begun=begun))
    taught, whose = (None, None) if found.teacher_kind else _teacher(found, data)
    student = models.build(found.student, cfg, data.num_classes, begin=str(_backbone(cfg)))
    trained = base.build(found.distiller, student, taught, cfg, data.num_data).to(found.device)
    trainer = DetectionTrainer(found.name, trained, data.train, data.test, cfg, progress=progress)
    processes.check_smallest(cfg.SOLVER.BATCH_SIZE, 1)
    record = DetectionRecord(found, data, whose, trainer)
    record.told["protocol"] |= {key.lower(): cfg.DETECTION[key] for key in OF_PROTOCOL}
    with trainer.folder.alone(), record.kept():
        trainer.train(resume=resume, overwrite=overwrite)
        if found.role == "teacher":
            ranks.from_first(lambda: publish(found, overwrite, record, trained.student, begun=begun))
    if found.role == "teacher":
        print(f"teacher: {found.place}")
    return record.told


def _teacher(found: Resolved, data: loaders.Loaded) -> tuple[nn.Module, dict[str, Any]]:
    """The teacher, and what the record tells of it; its test AP is printed.

    Raises:
        UserError: its checkpoint is another network's or of other classes, or it finds nothing.
    """
    whose = teacher(found.cfg)
    network, told = _filled(whose, found.cfg, data.test, data.classes)
    network.to(found.device)
    figures = evaluate(network, data.test, found.device, found.precision)
    ap = figures["box_ap"] or 0.0
    print(f"teacher: {whose.architecture}, {told['kind']}, test box AP {ap:.2f} ({told['path']})")
    if ap == 0.0 and told["kind"] in ("file", "pretrained"):  # of one of ours it is known how it was trained
        raise UserError(f"{told['path']}: the teacher finds nothing on the test images, so it is another network's")
    return network, {**told, **figures}


def _filled(
    whose: Teacher, cfg: CfgNode, test: loaders.EvaluationLoader, classes: Sequence[str]
) -> tuple[GeneralizedRCNN, dict[str, Any]]:
    """A detector with its weights, and where they come from."""
    told = {"architecture": whose.architecture, "kind": whose.kind, "seed": None, "digest": ""}
    if whose.file is None:
        network = models.published(whose.architecture, cfg, test.data.categories, classes)
        return network, {**told, "path": "torchvision"}
    meta = resolve.told_by(checkpoint.read(whose.file))
    if meta.get("classes") and tuple(meta["classes"]) != tuple(classes):
        raise UserError(f"{whose.file}: was trained on other classes than those of {test.data.file}")
    network = models.load(whose.architecture, cfg, whose.file, len(classes))
    told |= {"kind": meta.get("kind", whose.kind), "seed": meta.get("seed", cfg.DISTILLER.TEACHER_SEED)}
    return network, {**told, "path": str(whose.file), "digest": checkpoint.digest(whose.file)}


def measure(cfg: CfgNode, file: str, device: str = "auto") -> dict[str, float | None]:
    """The figures of a checkpoint of ``DISTILLER.STUDENT`` on the test images.

    Raises:
        UserError: the file is not one of it, or the data are missing.
    """
    needed()
    where, name = resolve_device(device), models.check(cfg.DISTILLER.STUDENT, "DISTILLER.STUDENT")
    with processes.group(where):
        test = loaders.test(cfg)
        network = models.load(name, cfg, file, len(test.data.classes)).to(where)
        return evaluate(network, test, where, precision.resolve(cfg.SOLVER.PRECISION, where), models.has_masks(name))
