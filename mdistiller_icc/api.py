"""Training and distilling from Python, with networks, data and methods of one's own, by the trainer of the commands."""

from __future__ import annotations

import copy
import functools
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from mdistiller_icc.data.from_torch import Data, TorchData, add
from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.engine.run_folder import RunFolder, run_name
from mdistiller_icc.errors import UserError
from mdistiller_icc.host import Host
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure, resolve_device, run
from mdistiller_icc.teachers import checkpoint, resolve, store, weights

Settings = Mapping[str, Any]
"""Keys of a configuration and their values, ``{"SOLVER.LR": 0.1, "ICC.WEIGHT": 0.03}``."""
AnyData = str | tuple[Data, Data] | TorchData
"""The name of a data set, or images of one's own: ``(train, test)``."""


@dataclass(frozen=True)
class Trained:
    """A network that was trained, and what is told of it.

    Attributes:
        model: in eval mode, with the weights of the last epoch; the network that was given, if one was.
        architecture: its name.
        data: the name of the data set.
        images: the data set itself, where it was given.
        top1: test accuracy after the last epoch, in percent.
        folder: of the run: configuration, checkpoints, logs.
        checkpoint: its weights; a teacher's lie in the teacher store.
        record: all that ``record.json`` says.
    """

    model: nn.Module = field(repr=False)
    architecture: str
    data: str
    top1: float
    folder: Path
    checkpoint: Path
    record: dict[str, Any] = field(repr=False)
    images: TorchData | None = field(default=None, repr=False)


def train_teacher(
    model: str | nn.Module,
    data: AnyData,
    method: str | type[Distiller] = "ICC",
    *,
    epochs: int | None = None,
    seed: int | None = None,
    device: str = "auto",
    settings: Settings | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Trained:
    """Train a teacher and put it into the teacher store.

    Args:
        model: the name of a network, or one that takes images (B, 3, H, H) and returns logits (B, C).
        data: the name of a data set, or ``(train, test)``; see `TorchData`.
        method: ``ICC``, or ``NONE`` for cross-entropy alone.
        epochs: ``SOLVER.EPOCHS``.
        seed: names the run and its teacher; 0 without a name by default.
        device: ``auto``, ``cpu``, ``cuda:1``, …
        settings: any other of a configuration.
        resume: go on with this run where it stopped.
        overwrite: start this run again even if it is there.

    Raises:
        UserError: a name or a setting is wrong, or the run's or the teacher's place is taken.

    >>> teacher = train_teacher("resnet20", "digits", epochs=20)  # doctest: +SKIP
    """
    return _run("teacher", {}, model, data, method, epochs, seed, device, settings or {}, resume, overwrite)


def distill(
    teacher: Trained | str | nn.Module,
    student: str | nn.Module,
    method: str | type[Distiller] = "DKD",
    data: AnyData | None = None,
    *,
    epochs: int | None = None,
    seed: int | None = None,
    device: str = "auto",
    settings: Settings | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Trained:
    """Train a student that learns from a teacher.

    Args:
        teacher: what `train_teacher` returned, a name such as ``resnet110_icc``, or a network with its weights.
        student: like ``model`` of `train_teacher`.
        method: the name of a distiller, or a class of one's own (docs/your_own_distiller.md).
        data: like that of `train_teacher`; by default what the teacher was trained on.
        epochs: and all that follow, as for `train_teacher`.

    Raises:
        UserError: a name or a setting is wrong, the run's place is taken, or the teacher is no better than chance.

    >>> student = distill(teacher, "resnet8", "DKD", epochs=20)  # doctest: +SKIP
    """
    if data is None:
        if not isinstance(teacher, Trained):
            raise UserError("distill: wanted data, which only what train_teacher returned brings along")
        data = teacher.images or teacher.data
    given: dict[str, str] | nn.Module
    if isinstance(teacher, Trained):
        given = {"DISTILLER.TEACHER": teacher.architecture, "DISTILLER.TEACHER_CKPT": str(teacher.checkpoint)}
    elif isinstance(teacher, str):
        given = {"DISTILLER.TEACHER": teacher}
    else:
        given = teacher
    return _run("student", given, student, data, method, epochs, seed, device, settings or {}, resume, overwrite)


def _name(model: str | nn.Module) -> str:
    """The name that a run knows a network by; one that was given has its class, its size and what tells it from others.

    A module of the same name has the same layers with the same settings, though its weights may be others.
    """
    if isinstance(model, str):
        return model
    size = sum(parameter.numel() for parameter in model.parameters())
    shown = f"{size / 1e6:.2f}M" if size >= 1e5 else str(size)
    shapes = [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]
    own = [{key: str(value) for key, value in vars(layer).items() if _tells(key, value)} for layer in model.modules()]
    built = re.sub(r" at 0x[0-9a-fA-F]+", "", f"{model}{shapes}{own}")
    return f"{type(model).__name__}-{shown}-{hashlib.sha256(built.encode()).hexdigest()[:6]}"


def _tells(key: str, value: Any) -> bool:
    """Whether a module's attribute says how it computes, as a number or a function does; whether it trains does not."""
    plain = isinstance(value, (bool, int, float, str, tuple)) or callable(value)
    return plain and key != "training" and not key.startswith("_")


def _settings_of(teacher: nn.Module, dataset: str) -> dict[str, str]:
    """The settings that name a teacher: a file of its weights, named after them, as a run and its record want one."""
    name = _name(teacher)
    aside = store.root() / dataset / f".{name}.{os.getpid()}.pth"
    held = {key: tensor.cpu() for key, tensor in teacher.state_dict().items()}  # the same file wherever it is
    checkpoint.save({"model": held}, aside)
    digest = checkpoint.digest(aside).removeprefix("sha256:")
    file = aside.with_name(f"{name}~{digest[:8]}.pth")
    os.replace(aside, file)
    return {"DISTILLER.TEACHER": name, "DISTILLER.TEACHER_CKPT": str(file)}


def _method(host: Host, method: Any) -> str:
    """The name that a run knows the method by."""
    if isinstance(method, str):
        return method
    if not (isinstance(method, type) and issubclass(method, Distiller)):
        what = method.__name__ if isinstance(method, type) else f"a {type(method).__name__}"
        raise UserError(f"method: wanted a class made from mdistiller_icc.distillers.base.Distiller, got {what}")
    name: str = vars(method).get("node", method.__name__)
    if host.distiller_dict.get(name, method) is not method and name not in _own_methods:
        raise UserError(f"there is a distiller {name} already; choose another name for your class")
    _own_methods.add(name)
    host.distiller_dict[name] = method
    host.CFG[name] = method.defaults()
    return name


_own_methods: set[str] = set()


def _run(
    role: str,
    teacher: dict[str, str] | nn.Module,
    network: str | nn.Module,
    data: AnyData,
    method: str | type[Distiller],
    epochs: int | None,
    seed: int | None,
    device: str,
    settings: Settings,
    resume: bool,
    overwrite: bool,
) -> Trained:
    host = register(verbose=False).host
    images = data if isinstance(data, (str, TorchData)) else TorchData(*data)
    dataset = images if isinstance(images, str) else add(images)
    given = _settings_of(teacher, dataset) if isinstance(teacher, nn.Module) else teacher
    name, architecture = _method(host, method), _name(network)
    taught = [Path(given["DISTILLER.TEACHER_CKPT"]).stem] if "DISTILLER.TEACHER_CKPT" in given else given.values()
    trainer = name.lower() if name.lower() in host.trainer_dict else "base"
    fixed = given | {
        "EXPERIMENT.PROJECT": dataset,
        "EXPERIMENT.TAG": ",".join([name, *taught, architecture]),
        "DATASET.TYPE": dataset,
        "DISTILLER.TYPE": name,
        "DISTILLER.STUDENT": architecture,
        "SOLVER.TRAINER": trainer,
    }
    chosen = ({} if epochs is None else {"SOLVER.EPOCHS": epochs}) | dict(settings)
    cfg = configure(None, _pairs(fixed | chosen), seed)
    options, models = _pairs(chosen), host.models(dataset, cfg.DATASET.IMAGE_SIZE)
    for one in (teacher, network):  # last the one that starts from the weights it has: the registry gives out copies
        if isinstance(one, nn.Module):
            models[_name(one)] = functools.partial(_copied, one), None
    record = run(cfg, role, options=options, device=device, resume=resume, overwrite=overwrite)
    folder = RunFolder(cfg, run_name(cfg, options)).path
    model = resolve.build(models, network, cfg, record["num_classes"]) if isinstance(network, str) else network
    weights.load(model, folder / "student_latest", architecture)
    file = folder / "student_latest"
    if role == "teacher":
        file = store.path(dataset, store.TeacherName(architecture, store.KINDS[name]), cfg.EXPERIMENT.SEED)
    model.to(resolve_device(device)).eval()
    own = None if isinstance(images, str) else images
    return Trained(model, architecture, dataset, record["top1"]["last"], folder, file, record, own)


def _copied(model: nn.Module, num_classes: int) -> nn.Module:
    return copy.deepcopy(model)


def _pairs(settings: Settings) -> list[str]:
    return [part for key, value in settings.items() for part in (key, str(value))]
