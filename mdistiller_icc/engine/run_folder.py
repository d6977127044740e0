"""The folder of a run: its name, its files, and what may be done to one that is already there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from yacs.config import CfgNode

from mdistiller_icc import ranks, run_lock, whole_file
from mdistiller_icc.config import pairs, read_yaml
from mdistiller_icc.engine.schedule import learning_rate
from mdistiller_icc.errors import UserError
from mdistiller_icc.paths import make_folder

INCIDENTAL = ("EXPERIMENT.", "LOG.", "DATASET.ROOT", "DATASET.NUM_WORKERS", "DATASET.TEST.BATCH_SIZE")
"""Keys that say where and how a run is made, not what it is: they neither name it nor bar it from resuming."""

FILES = ("DISTILLER.TEACHER_CKPT", "DISTILLER.STUDENT_CKPT")
"""Keys that name files which may lie elsewhere when a run goes on.

A teacher is known by its digest, and the weights that a run starts from are not read again.
"""
LENGTH = ("SOLVER.EPOCHS", "SOLVER.LR_DECAY_STAGES")
"""Keys that a run which becomes longer may have others of."""

LATEST, PREVIOUS, BEST = "latest", "previous", "best"
"""A run's checkpoints, each with all that it needs to go on; the previous one goes when the run is finished."""
EVENTS = "train.events"
"""TensorBoard's folder."""
WRITTEN = (
    "config.yaml", LATEST, PREVIOUS, BEST, "student_*", "epoch_*", "metrics.jsonl", "worklog.txt", "record.json",
    EVENTS,
)  # fmt: skip
"""What a run leaves in its folder."""
FIGURES = {"epoch", "train_loss", "images_per_second", "seconds"}
"""What every line of ``metrics.jsonl`` has at least."""
WHILE_LOOKED_AT = 0.5
"""Seconds for which a lock may be in the hands of somebody who only wants to know whether it is held."""
LONGEST = 200
"""Bytes of a folder's name; file systems take 255."""


def run_name(cfg: CfgNode, options: Sequence[str] = ()) -> str:
    """The run's name: ``EXPERIMENT.NAME``, or mdistiller's tag and overrides; then the seed if one is named.

    What is too long for a file system is cut, and told from others by a digest of the whole.

    Raises:
        UserError: it would be another folder than the run's own.
    """
    overrides = [f"{key}:{value}" for key, value in pairs(options) if not key.startswith(INCIDENTAL)]
    seed = [] if cfg.EXPERIMENT.SEED is None else [f"seed:{cfg.EXPERIMENT.SEED}"]
    named = [cfg.EXPERIMENT.NAME] if cfg.EXPERIMENT.NAME else [cfg.EXPERIMENT.TAG, *overrides]
    name = ",".join([*named, *seed]).replace("/", "_").replace(os.sep, "_")
    if not name:
        raise UserError("EXPERIMENT.NAME: without a name or a tag the run has no folder of its own")
    if len(name.encode()) > LONGEST:
        name = f"{name.encode()[:LONGEST].decode(errors='ignore')}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name


def portable(name: str) -> str:
    """The name in characters that every file system takes.

    >>> portable("resnet56_icc,ICC.MARGIN:0.1,seed:0")
    'resnet56_icc,ICC.MARGIN=0.1,seed=0'
    """
    return re.sub(r"[. ]$", "_", name.replace(":", "=").translate(dict.fromkeys(map(ord, '*?"<>|\\'), "_")))


class RunFolder:
    """``<LOG.PREFIX>/<PROJECT>/<NAME>/`` and the files in it, which of several processes the first alone writes.

    Where that is a symbolic link, the folder that it leads to is the run's.

    Args:
        cfg: reads ``LOG.PREFIX`` and ``EXPERIMENT.PROJECT``.
        name: the run's name.
    """

    def __init__(self, cfg: CfgNode, name: str) -> None:
        self.cfg = cfg
        self.name = name
        below, project = Path(cfg.LOG.PREFIX), cfg.EXPERIMENT.PROJECT
        earlier = _linked(below / project / name)  # what version 0.1.0 called it
        begun = earlier.is_dir() or earlier.with_name(f".{earlier.name}.before").is_dir()
        self.path = earlier if begun else _linked(below / portable(project) / portable(name))
        self.before = self.path.with_name(f".{self.path.name}.before")
        """Where an overwritten run waits, whole, until its successor has a checkpoint."""
        self.lock = run_lock.path(self.path)
        self.restored = False

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Make the folder, and keep other processes from this run.

        Raises:
            UserError: one is at it.
        """
        with contextlib.ExitStack() as held:
            ranks.from_first(lambda: self._take(held))
            yield

    def _take(self, held: contextlib.ExitStack) -> None:
        make_folder(self.path)
        try:
            held.enter_context(FileLock(self.lock, timeout=WHILE_LOOKED_AT))
        except Timeout:
            raise UserError(f"{self.path}: another process is at this run") from None
        self.restore()  # of a process that was killed in between

    def begun(self) -> bool:
        """Whether the folder holds a run that has saved an epoch, even if its checkpoint was deleted since."""
        epochs = self.record().get("epoch")
        return self._goes_on() or (isinstance(epochs, int) and epochs > 0)

    def _goes_on(self) -> bool:
        return any((self.path / name).exists() for name in (LATEST, PREVIOUS, BEST))

    def open(self, resume: bool, overwrite: bool) -> bool:
        """Make the folder ready and say whether there is a run to continue in it; see `alone`.

        A run that is overwritten stays until `settle`, so that `restore` can bring it back. With both ``resume`` and
        ``overwrite`` a run is continued where there is one.

        Raises:
            UserError: a run is there and neither ``resume`` nor ``overwrite`` was asked for, or it has no checkpoint
                any more.
        """
        return ranks.from_first(lambda: self._open(resume, overwrite))

    def _open(self, resume: bool, overwrite: bool) -> bool:
        make_folder(self.path)
        self.restore()
        self.restored = False
        begun = self.begun()
        if begun and not (resume or overwrite):
            raise UserError(
                f"{self.path}: holds a run already; --resume continues it, --overwrite starts again, "
                "EXPERIMENT.NAME gives the new one another name"
            )
        if begun and resume and not self._goes_on():
            raise UserError(f"{self.path}: cannot be resumed: its checkpoints are gone; --overwrite starts again")
        for left in [file for name in WRITTEN for file in self.path.glob(f".{name}.*")]:  # it was being written
            if re.fullmatch(r".+\.\d+", left.name) and left.is_file():
                left.unlink()
        if begun and resume:
            return True
        if begun:
            self.path.rename(self.before)
            self.path.mkdir()
        self._clear()
        self.write_configuration()
        return False

    @ranks.first_alone
    def settle(self) -> None:
        """The run has a checkpoint: let go of the one it overwrites, but not of what others put into its folder."""
        if not self.before.is_dir():
            return
        kept = set(self._written(self.before))
        for file in self.before.iterdir():
            if file not in kept and not (self.path / file.name).exists():
                os.replace(file, self.path / file.name)
        shutil.rmtree(self.before)

    @ranks.first_alone
    def restore(self) -> None:
        """Bring back an overwritten run whose successor ended before it had a checkpoint."""
        if (self.path / LATEST).exists():
            self.settle()
        elif self.before.is_dir():
            shutil.rmtree(self.path, ignore_errors=True)
            self.before.rename(self.path)
            self.restored = True

    def _clear(self) -> None:
        for file in self._written(self.path):
            shutil.rmtree(file) if file.is_dir() else file.unlink()

    def _written(self, folder: Path) -> list[Path]:
        found = [file for name in WRITTEN for file in folder.glob(name)]
        return [file for file in found if file.is_file() or file.name == EVENTS]

    def configuration(self) -> dict[str, Any]:
        """The run's configuration as plain values."""
        plain: dict[str, Any] = yaml.safe_load(self.cfg.dump())
        return plain

    def check_configuration(self, before: dict[str, Any], done: int, teacher_kind: str | None) -> None:
        """Refuse to go on with a run that was begun with another configuration.

        It may become longer if no epoch that it has trained would have been another then. The recipe of ICC teachers is
        of these alone: its defaults have changed, and the runs of other methods go on.

        Args:
            before: the configuration.
            done: epochs that it has trained.
            teacher_kind: which kind of teacher its method trains; see `Hooks`.

        Raises:
            UserError: naming the first key that differs.
        """
        earlier, now = flat(before), flat(self.configuration())
        longer = now["SOLVER.EPOCHS"] > earlier.get("SOLVER.EPOCHS", math.inf)
        for key in sorted(earlier.keys() & now.keys()):  # a setting that one of them does not know had its default
            if key.startswith("ICC.") and teacher_kind != "icc":
                continue
            moved = key in FILES and earlier[key] and now[key]
            if earlier[key] != now[key] and not key.startswith(INCIDENTAL) and not moved:
                why = ""
                if longer and key in LENGTH:
                    why = self._other_past(before["SOLVER"], done)
                    if not why:
                        continue
                raise UserError(
                    f"{self.path}: cannot be resumed with {key} {now[key]!r}: it was begun with {earlier[key]!r}{why}"
                )

    def _other_past(self, before: dict[str, Any], done: int) -> str:
        """Which trained epoch would have had another learning rate in a longer run; empty if none would."""
        solver = self.cfg.SOLVER
        earlier = CfgNode({**solver, **before})
        for epoch in range(1, done + 1):
            was, would = learning_rate(epoch, earlier), learning_rate(epoch, solver)
            if was != would:
                return f", and epoch {epoch} of the {solver.SCHEDULE} schedule would have had {would:g}, not {was:g}"
        return ""

    @ranks.first_alone
    def write_configuration(self) -> None:
        """Write ``config.yaml``."""
        whole_file.write(self.path / "config.yaml", self.cfg.dump())

    @ranks.first_alone
    def append_metrics(self, metrics: dict[str, Any]) -> None:
        """Add an epoch's line to ``metrics.jsonl``."""
        file = self.path / "metrics.jsonl"
        with whole_file.naming(file), open(file, "a", encoding="utf-8") as opened:
            opened.write(json.dumps(metrics, allow_nan=False) + "\n")

    @ranks.first_alone
    def write_metrics(self, history: list[dict[str, Any]]) -> None:
        """Write ``metrics.jsonl`` anew."""
        whole_file.write(self.path / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in history))

    def told(self, until: int) -> dict[str, Any]:
        """What the checkpoint of a run of version 0.1.0 does not hold, from the files beside it.

        Raises:
            UserError: they do not hold it either.
        """
        history, file = [], self.path / "metrics.jsonl"
        try:
            history = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[:until]]
        except (OSError, ValueError) as error:
            raise UserError(f"{file}: cannot be resumed from: {error}") from None
        whole = [isinstance(line, dict) and FIGURES <= line.keys() and line["epoch"] for line in history]
        if whole != list(range(1, until + 1)):
            raise UserError(f"{file}: cannot be resumed from: it does not hold epochs 1 to {until}")
        config, record = read_yaml(self.path / "config.yaml"), self.record()
        if not config:
            raise UserError(f"{self.path / 'config.yaml'}: empty; the run cannot be resumed without its configuration")
        parts = {key: found if isinstance(found := record.get(key), dict) else {} for key in ("protocol", "teacher")}
        kept = {
            "started": record.get("started"),
            "precision": found if (found := parts["protocol"].get("precision")) in ("fp32", "bf16") else None,
            "teacher": parts["teacher"].get("digest"),
        }
        return {"config": config, "history": history, "kept": kept}

    def record(self) -> dict[str, Any]:
        """What ``record.json`` holds; nothing where there is none that can be read."""
        try:
            found = json.loads((self.path / "record.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @ranks.first_alone
    def write_record(self, record: dict[str, Any]) -> None:
        """Write ``record.json``."""
        whole_file.write(self.path / "record.json", json.dumps(record, indent=1, allow_nan=False) + "\n")


def _linked(path: Path) -> Path:
    """Where a symbolic link leads; else the path as it is."""
    return path.resolve() if path.is_symlink() else path


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as ``{"SOLVER.LR": 0.05, …}``, lists and tuples alike."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return leaves
