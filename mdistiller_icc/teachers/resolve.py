"""From ``DISTILLER.TEACHER`` to a network with its weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import nn
from yacs.config import CfgNode

from mdistiller_icc import features
from mdistiller_icc.builtin.models import OWN, upstream
from mdistiller_icc.classifier import fit_classifier
from mdistiller_icc.data import data_set, data_sets, described
from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.paths import expand
from mdistiller_icc.teachers import checkpoint, pretrained, store, weights
from mdistiller_icc.teachers.trained import UNTOLD, Trained, by_protocol, by_run, protocol
from mdistiller_icc.zoo import ZooNetwork, admit, of_zoo

TOLD = {
    "architecture": str, "kind": str, "classes": list, "run": str, "dataset": str, "seed": int, "protocol": dict,
    "method_config": dict,
}  # fmt: skip
"""What our own checkpoints tell of themselves, under ``meta``, and its types."""
UNLIKE = 0.02
"""Beyond this, two means of a colour channel, or two deviations, are not the same images' rounded differently."""


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
    trained: Trained | None = None
    """For how long it was trained, as far as its checkpoint says."""

    def __str__(self) -> str:
        return f"{self.architecture}, {self.kind}" + (f", seed {self.seed}" if self.seed is not None else "")

    def record(self) -> dict[str, Any]:
        """The same as plain values, for ``record.json``."""
        told = asdict(self)
        del told["trained"]
        return told


def architecture(models: dict[str, Any], name: str, key: str, dataset: str) -> str:
    """The architecture a registry name stands for, ``resnet110`` for ``resnet110_icc``.

    A zoo's is put into ``models`` when it is first named.

    Raises:
        UserError: the data set has no such network.
    """
    parsed = store.parse(name)
    admit(models, parsed.architecture if parsed else name, key)
    if name not in models and (parsed is None or parsed.architecture not in models):  # networks may come later than us
        raise UserError(f"{key}: no network '{name}' for {dataset}{nearest(name, models)}")
    return parsed.architecture if parsed else name


def loads_itself(entry: Any) -> bool:
    """Whether a registry's entry is ``factory(pretrained=bool)``; else it is ``(factory, checkpoint path or None)``."""
    return not isinstance(entry, tuple)


def build(models: dict[str, Any], name: str, cfg: CfgNode, num_classes: int) -> nn.Module:
    """The untrained network called ``name`` in a host's model dictionary, for data of ``num_classes`` classes.

    One that returns logits alone is completed.

    Args:
        cfg: reads ``COMPAT.UPSTREAM`` and ``DATASET.TYPE``.
    """
    if network := of_zoo(models[name]):
        return network(num_classes)
    if loads_itself(models[name]):  # and is always for ImageNet's thousand
        model = upstream.build(models[name], upstream=cfg.COMPAT.UPSTREAM, pretrained=False)
        fit_classifier(model, num_classes)
    else:
        model = upstream.build(models[name][0], upstream=cfg.COMPAT.UPSTREAM, num_classes=num_classes)
    if name not in OWN:
        model = features.complete(model, described(cfg).image_size)
    return model


def begin(models: dict[str, Any], name: str, cfg: CfgNode, num_classes: int) -> nn.Module:
    """The network called ``name`` as its training begins: untrained, or with the weights that a zoo's name names.

    Args:
        cfg: as for `build`.

    Raises:
        UserError: they cannot be fetched.
    """
    network = of_zoo(models[name])
    if network is None or not network.tag:
        return build(models, name, cfg, num_classes)
    _say_normalised(name, network, cfg)
    return pretrained.build(network, name, pretrained=True, key="DISTILLER.STUDENT", num_classes=num_classes)


def _say_normalised(name: str, network: ZooNetwork, cfg: CfgNode) -> None:
    """Print what a zoo's weights expect of images, where this run normalises them otherwise."""
    here, weights = described(cfg), network.weights
    if here.mean is None or here.std is None:  # measured, once the images are read
        return
    if max(abs(a - b) for a, b in zip(here.mean + here.std, weights.moments, strict=True)) > UNLIKE:
        mean, std = ([round(float(value), 4) for value in values] for values in (weights.mean, weights.std))
        print(f"{name}: its weights were trained with DATASET.MEAN {mean} DATASET.STD {std}; this run has others")


def check_classes(models: dict[str, Any], arch: str, dataset: str, num_classes: int) -> None:
    """Refuse weights that a factory brings along for data of other classes, before they are downloaded.

    Raises:
        UserError: they are.
    """
    network = of_zoo(models[arch])
    of_weights = data_sets()["imagenet"]
    count = network.weights.num_classes if network else of_weights.num_classes
    if data_set(dataset) != of_weights or num_classes != count:
        trained = store.command(dataset, store.TeacherName(arch, "vanilla"))
        raise UserError(
            f"DISTILLER.TEACHER {arch}: the weights it comes with are for the {count:,} classes of "
            f"{of_weights.name}, and this {dataset} has {num_classes:,}; take {arch}_vanilla ({trained}), or a file "
            "with DISTILLER.TEACHER_CKPT"
        )


def load(
    models: dict[str, Any], cfg: CfgNode, classes: tuple[str, ...], tree: str | None = None
) -> tuple[nn.Module, Teacher]:
    """Build the teacher that ``cfg`` names and fill it with its trained weights.

    Args:
        models: the host's model dictionary for the data set.
        cfg: reads ``DISTILLER`` and ``DATASET.TYPE``.
        classes: the data set's class names, in label order.
        tree: which images it has, where it is anybody's.

    Raises:
        UserError: there is no such network, no checkpoint (the message says which command trains one), or the
            checkpoint is not one of this network and these classes, or the store's is of another tree of images.
    """
    node, dataset = cfg.DISTILLER, cfg.DATASET.TYPE
    arch, kind, file = find(models, cfg)
    if file is None:
        check_classes(models, arch, dataset, len(classes))
        if network := of_zoo(models[arch]):
            model = pretrained.build(network, arch, pretrained=True)
            _say_normalised(arch, network, cfg)
            return model, Teacher(arch, "pretrained", None, network.weights.where, "", dataset)
        model = pretrained.build(models[arch], arch, pretrained=True)
        return model, Teacher(arch, "pretrained", None, "torchvision", "", dataset)
    model = build(models, arch, cfg, len(classes))
    content = checkpoint.read(file)
    meta = told_by(content)
    if meta.get("classes") and tuple(meta["classes"]) != classes:
        raise UserError(f"{file}: was trained on other classes, or on the same in another order, than this {dataset}")
    if of_another_tree(meta, tree):
        told = f"{file}: was trained on other images of these classes"
        if not node.TEACHER_CKPT:
            raise UserError(f"{told}; train one on these, or name this file with DISTILLER.TEACHER_CKPT")
        print(told)
    weights.load_into(model, content, file, arch)
    kind, seed = (meta.get("kind", kind), meta.get("seed")) if meta else (kind, node.TEACHER_SEED)
    told = meta.get("dataset", dataset)
    return model, Teacher(arch, kind, seed, str(file), checkpoint.digest(file), told, training(content))


def training(content: Any) -> Trained | None:
    """For how long the teacher in a checkpoint was trained, as far as it says."""
    return by_protocol(told_by(content).get("protocol", {}))


def tell_training(file: str | Path, trained: Trained | None, cfg: CfgNode) -> None:
    """Print for how long a teacher was trained, where the run that is to learn from it is of another length."""
    own = by_run(cfg)
    if trained is not None and trained != own:
        print(f"{file}: this teacher was trained for {trained}; this run is for {own}")


def told_by(content: Any) -> dict[str, Any]:
    """What a checkpoint tells of itself under ``meta``, as far as it is what we write there (`TOLD`)."""
    meta = content.get("meta") if isinstance(content, dict) else None
    if not isinstance(meta, dict):
        return {}
    return {key: meta[key] for key, kind in TOLD.items() if type(meta.get(key)) is kind}


def of_another_tree(meta: dict[str, Any], tree: str | None) -> bool:
    """Whether a checkpoint tells that it was trained on another tree of images."""
    return tree is not None and meta.get("protocol", {}).get("tree", tree) != tree


def find(models: dict[str, Any], cfg: CfgNode) -> tuple[str, str, Path | None]:
    """The teacher that ``cfg`` names: architecture, kind, and checkpoint: None if it comes with the factory.

    Raises:
        UserError: there is no such network, or no checkpoint of it.
    """
    node, dataset = cfg.DISTILLER, cfg.DATASET.TYPE
    arch = architecture(models, node.TEACHER, "DISTILLER.TEACHER", dataset)
    stored = store.parse(node.TEACHER)
    if node.TEACHER_CKPT:
        return arch, "file", expand(node.TEACHER_CKPT, "DISTILLER.TEACHER_CKPT")
    if stored:
        return arch, stored.kind, _in_store(dataset, stored, node.TEACHER_SEED)
    if loads_itself(models[arch]) or of_zoo(models[arch]):
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
    says = ("dataset", "seed", "top1", "box_ap", "mask_ap", "protocol", "method_config", "versions")
    told = {key: record[key] for key in says if key in record}
    meta = {"architecture": architecture, "kind": kind, "classes": list(classes), "run": run_of(record), **told}
    checkpoint.save({"model": model.state_dict(), "meta": meta}, file)
    return file


def run_of(record: dict[str, Any]) -> str:
    """The run a record is of, ``PROJECT/NAME``."""
    return f"{record['project']}/{record['name']}"


def check_place(file: Path, run: str, cfg: CfgNode, tree: str | None = None, begun: bool = False) -> str | None:
    """Refuse to train a teacher whose place in the store is taken by another run's.

    One of this run's name is its own if the run has begun, or was trained by the same settings. One that was trained
    for less, by the same recipe, gives way; the line that says so is returned.

    Args:
        file: the place.
        run: ``PROJECT/NAME``.
        cfg: of the run.
        tree: which images it is trained on, where the data set is anybody's.
        begun: the run's folder holds epochs of it.

    Raises:
        UserError: it is taken.
    """
    if not file.is_file():
        return None
    instead = "--overwrite replaces it, --seed N or MDISTILLER_ICC_TEACHERS gives this one another place"
    try:
        there = told_by(checkpoint.read(file))
    except UserError as error:
        raise UserError(f"{error}; {instead}") from None
    other, elsewhere = there.get("run"), of_another_tree(there, tree)
    node = cfg.get(cfg.DISTILLER.TYPE)
    recipe = yaml.safe_load(node.dump()) if isinstance(node, CfgNode) else {}
    same = _agree(there.get("method_config", {}), recipe)
    now = protocol(cfg) | {key.lower(): value for key, value in cfg.get("DETECTION", {}).items()}  # a detector's
    if other == run and not elsewhere and (begun or same and _agree(UNTOLD | there.get("protocol", {}), now)):
        return None
    trained = by_protocol(there.get("protocol", {}))
    if other and same and not elsewhere and trained is not None and trained.shorter_than(by_run(cfg)):
        return f"{file}: the teacher of {other}, {trained}, gives way to this run's, {by_run(cfg)}"
    raise UserError(
        f"{file}: holds the teacher of {other or 'somebody else'}{f', {trained}' if trained else ''}"
        f"{', of other images than these' * elsewhere}; {instead}"
    )


def _agree(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two descriptions say the same where both say something."""
    return all(before[key] == now[key] for key in before.keys() & now.keys())
