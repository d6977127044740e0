"""From ``DISTILLER.TEACHER`` to a network with its weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import hub, nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.models import upstream
from mdistiller_icc.classifier import fit_classifier
from mdistiller_icc.data import data_set
from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.teachers import checkpoint, store


@dataclass(frozen=True)
class Teacher:
    """Which teacher a student learnt from, as its record tells it.

    ``kind`` is ``icc`` or ``vanilla`` (from the store), ``pretrained`` (the host's own checkpoint) or ``file``
    (``DISTILLER.TEACHER_CKPT``).
    """

    architecture: str
    kind: str
    seed: int | None
    path: str
    digest: str
    dataset: str
    """The data set it was trained on, as far as its checkpoint says."""

    def __str__(self) -> str:
        return f"{self.architecture}, {self.kind}" + (f", seed {self.seed}" if self.seed is not None else "")

    def record(self) -> dict[str, Any]:
        """The same as plain values, for ``record.json``."""
        return asdict(self)


def architecture(models: dict[str, Any], name: str, key: str, dataset: str) -> str:
    """The architecture a registry name stands for, ``resnet110`` for ``resnet110_icc``.

    Raises:
        UserError: the data set has no such network.
    """
    if name not in models:
        raise UserError(f"{key}: no network '{name}' for {dataset}{nearest(name, models)}")
    parsed = store.parse(name)
    return parsed.architecture if parsed else name


def loads_itself(entry: Any) -> bool:
    """Whether a registry's entry is ``factory(pretrained=bool)``; else it is ``(factory, checkpoint path or None)``."""
    return not isinstance(entry, tuple)


def build(models: dict[str, Any], name: str, cfg: CfgNode, num_classes: int) -> nn.Module:
    """The untrained network called ``name`` in a host's model dictionary, for data of ``num_classes`` classes.

    Args:
        cfg: reads ``COMPAT.UPSTREAM``.
    """
    if loads_itself(models[name]):  # and is always for ImageNet's thousand
        model = upstream.build(models[name], upstream=cfg.COMPAT.UPSTREAM, pretrained=False)
        fit_classifier(model, num_classes)
        return model
    return upstream.build(models[name][0], upstream=cfg.COMPAT.UPSTREAM, num_classes=num_classes)


def load(models: dict[str, Any], cfg: CfgNode, classes: tuple[str, ...]) -> tuple[nn.Module, Teacher]:
    """Build the teacher that ``cfg`` names and fill it with its trained weights.

    Args:
        models: the host's model dictionary for the data set.
        cfg: reads ``DISTILLER`` and ``DATASET.TYPE``.
        classes: the data set's class names, in label order.

    Raises:
        UserError: there is no such network, no checkpoint (the message says which command trains one), or the
            checkpoint is not one of this network and these classes.
    """
    node, dataset = cfg.DISTILLER, cfg.DATASET.TYPE
    arch, kind, file = find(models, cfg)
    if file is None:
        return _pretrained(models, arch, dataset, len(classes)), Teacher(
            arch, "pretrained", None, "torchvision", "", dataset
        )
    model = build(models, arch, cfg, len(classes))
    content = checkpoint.read(file)
    meta = _meta(content)
    if meta.get("classes") and tuple(meta["classes"]) != classes:
        raise UserError(f"{file}: was trained on other classes, or on the same in another order, than this {dataset}")
    checkpoint.load_into(model, checkpoint.state_of(content, file), file, arch)
    kind, seed = (meta.get("kind", kind), meta.get("seed")) if meta else (kind, node.TEACHER_SEED)
    return model, Teacher(arch, kind, seed, str(file), checkpoint.digest(file), meta.get("dataset", dataset))


def _pretrained(models: dict[str, Any], arch: str, dataset: str, num_classes: int) -> nn.Module:
    """A network with the weights that its factory downloads."""
    known = data_set(dataset).num_classes
    trained = store.command(dataset, store.TeacherName(arch, "vanilla"))
    if num_classes != known:
        raise UserError(
            f"DISTILLER.TEACHER {arch}: the weights it comes with are for {known:,} classes, and this {dataset} has "
            f"{num_classes:,}; take {arch}_vanilla ({trained}), or a file with DISTILLER.TEACHER_CKPT"
        )
    try:
        model: nn.Module = models[arch](pretrained=True)
    except OSError as error:
        raise UserError(
            f"DISTILLER.TEACHER {arch}: its weights cannot be downloaded ({error}); put them into "
            f"{hub.get_dir()}/checkpoints, or name a file with DISTILLER.TEACHER_CKPT"
        ) from error
    return model


def _meta(content: Any) -> dict[str, Any]:
    """What a checkpoint says of itself; somebody else's may say anything under that name."""
    meta = content.get("meta") if isinstance(content, dict) else None
    return meta if isinstance(meta, dict) else {}


def find(models: dict[str, Any], cfg: CfgNode) -> tuple[str, str, Path | None]:
    """The teacher that ``cfg`` names: architecture, kind, and checkpoint: None if it comes with the factory.

    Raises:
        UserError: there is no such network, or no checkpoint of it.
    """
    node, dataset = cfg.DISTILLER, cfg.DATASET.TYPE
    arch = architecture(models, node.TEACHER, "DISTILLER.TEACHER", dataset)
    stored = store.parse(node.TEACHER)
    if node.TEACHER_CKPT:
        return arch, "file", Path(node.TEACHER_CKPT)
    if stored:
        return arch, stored.kind, _in_store(dataset, stored, node.TEACHER_SEED)
    if loads_itself(models[arch]):
        return arch, "pretrained", None
    return arch, "pretrained", _hosts_own(models, arch, dataset)


def _in_store(dataset: str, teacher: store.TeacherName, seed: int | None) -> Path:
    file = store.path(dataset, teacher, seed)
    if not file.is_file():
        there = store.seeds(dataset, teacher)
        if seed is None and store.path(dataset, teacher).is_file():
            there = []
        others = f" (there are seeds {', '.join(map(str, there))}: DISTILLER.TEACHER_SEED)" if there else ""
        raise UserError(f"{file}: no such teacher{others}; train it: {store.command(dataset, teacher, seed)}")
    return file


def _hosts_own(models: dict[str, Any], arch: str, dataset: str) -> Path:
    file = models[arch][1]
    trained = store.command(dataset, store.TeacherName(arch, "vanilla"))
    if file is None:
        raise UserError(
            f"DISTILLER.TEACHER {arch}: the host has no checkpoint of it; name {arch}_icc or {arch}_vanilla, "
            f"or a file with DISTILLER.TEACHER_CKPT; train one: {trained}"
        )
    if not Path(file).is_file():
        raise UserError(
            f"{file}: mdistiller's checkpoint of {arch} is not there; download it, name a file with "
            f"DISTILLER.TEACHER_CKPT, or take {arch}_vanilla: {trained}"
        )
    return Path(file)


def publish(
    model: nn.Module, classes: tuple[str, ...], kind: str, named_seed: int | None, record: dict[str, Any]
) -> Path:
    """Put a trained teacher into the store and return its path.

    Args:
        model: the network, trained.
        classes: the data set's class names, in label order.
        kind: ``icc`` or ``vanilla``.
        named_seed: the seed its file is to be named after; None for the file without a number.
        record: its run's record, of which the checkpoint keeps what says how it was trained.
    """
    architecture, dataset = record["student"]["architecture"], record["dataset"]
    file = store.path(dataset, store.TeacherName(architecture, kind), named_seed)
    told = {key: record[key] for key in ("dataset", "seed", "top1", "protocol", "method_config", "versions")}
    meta = {"architecture": architecture, "kind": kind, "classes": list(classes), "run": run_of(record), **told}
    checkpoint.save({"model": model.state_dict(), "meta": meta}, file)
    return file


def run_of(record: dict[str, Any]) -> str:
    """The run a record is of, ``PROJECT/NAME``."""
    return f"{record['project']}/{record['name']}"


def check_place(file: Path, run: str) -> None:
    """Refuse to train a teacher whose place in the store is taken by another run's.

    Raises:
        UserError: it is taken.
    """
    if file.is_file():
        content = checkpoint.read(file)
        other = _meta(content).get("run")
        if other != run:
            raise UserError(
                f"{file}: holds the teacher of {other or 'somebody else'}; --overwrite replaces it, --seed N or "
                "MDISTILLER_ICC_TEACHERS gives this one another place"
            )
