"""The folder of a run: its name, its files, and what may be done to one that is already there."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from mdistiller_icc.config import pairs, read_yaml
from mdistiller_icc.errors import UserError

INCIDENTAL = ("EXPERIMENT.", "LOG.", "DATASET.ROOT", "DATASET.NUM_WORKERS")
"""Keys that say where and how a run is made, not what it is: they neither name it nor bar it from resuming."""


def run_name(cfg: CfgNode, options: Sequence[str] = ()) -> str:
    """The run's name: ``EXPERIMENT.NAME``, or mdistiller's tag and overrides; then the seed if one is named."""
    overrides = [f"{key}:{value}" for key, value in pairs(options) if not key.startswith(INCIDENTAL)]
    seed = [] if cfg.EXPERIMENT.SEED is None else [f"seed:{cfg.EXPERIMENT.SEED}"]
    named = [cfg.EXPERIMENT.NAME] if cfg.EXPERIMENT.NAME else [cfg.EXPERIMENT.TAG, *overrides]
    return ",".join([*named, *seed]).replace("/", "_").replace(os.sep, "_")


class RunFolder:
    """``<LOG.PREFIX>/<PROJECT>/<NAME>/`` and the files in it.

    Args:
        cfg: reads ``LOG.PREFIX`` and ``EXPERIMENT.PROJECT``.
        name: the run's name.
    """

    def __init__(self, cfg: CfgNode, name: str) -> None:
        self.cfg = cfg
        self.name = name
        self.path = Path(cfg.LOG.PREFIX) / cfg.EXPERIMENT.PROJECT / name

    def open(self, resume: bool, overwrite: bool) -> bool:
        """Make the folder ready and say whether there is a run to continue in it.

        Raises:
            UserError: a run is there and neither ``resume`` nor ``overwrite`` was asked for, or it has
                another configuration than the one to be continued.
        """
        latest = self.path / "latest"
        if latest.exists() and not overwrite:
            if not resume:
                raise UserError(
                    f"{self.path}: holds a run already; --resume continues it, --overwrite starts again, "
                    "EXPERIMENT.NAME gives the new one another name"
                )
            self.check_configuration()
            return True
        self.path.mkdir(parents=True, exist_ok=True)
        for left in ("latest", "best", "student_latest", "student_best", "metrics.jsonl", "worklog.txt", "record.json"):
            (self.path / left).unlink(missing_ok=True)
        for left in (self.path / "train.events").glob("events.out.*"):
            left.unlink()
        self._write("config.yaml", self.cfg.dump())
        return False

    def check_configuration(self) -> None:
        """Refuse a folder whose run was begun with another configuration.

        Raises:
            UserError: naming the first key that differs.
        """
        before, now = flat(read_yaml(self.path / "config.yaml")), flat(yaml.safe_load(self.cfg.dump()))
        for key in sorted(before.keys() & now.keys()):  # a setting that one of them does not know had its default
            if before[key] != now[key] and not key.startswith(INCIDENTAL):
                raise UserError(
                    f"{self.path}: cannot be resumed with {key} {now[key]!r}: it was begun with {before[key]!r}"
                )

    def append_metrics(self, metrics: dict[str, Any]) -> None:
        """Add an epoch's line to ``metrics.jsonl``."""
        with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(metrics, allow_nan=False) + "\n")

    def metrics(self, until: int) -> list[dict[str, Any]]:
        """Read the metrics of the epochs up to ``until`` and drop later ones, which the checkpoint does not hold.

        Raises:
            UserError: a line is unreadable or an epoch is missing.
        """
        file = self.path / "metrics.jsonl"
        history: list[dict[str, Any]] = []
        try:
            lines = file.read_text(encoding="utf-8").splitlines()[:until]
            history = [json.loads(line) for line in lines]
        except (OSError, ValueError) as error:
            raise UserError(f"{file}: cannot be resumed from: {error}") from None
        if [line.get("epoch") for line in history] != list(range(1, until + 1)):
            raise UserError(f"{file}: cannot be resumed from: it does not hold epochs 1 to {until}")
        self._write("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in history))
        return history

    def write_record(self, record: dict[str, Any]) -> None:
        """Write ``record.json``."""
        self._write("record.json", json.dumps(record, indent=1, allow_nan=False) + "\n")

    def _write(self, name: str, text: str) -> None:
        aside = self.path / f".{name}.{os.getpid()}"
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, self.path / name)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as ``{"SOLVER.LR": 0.05, …}``, lists and tuples alike."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return leaves
