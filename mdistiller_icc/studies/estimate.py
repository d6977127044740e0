"""What runs will take, in time and on the disk, as far as past records tell."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from mdistiller_icc.studies.plan import PlannedRun


@dataclass(frozen=True)
class Cost:
    """Seconds and bytes; None where no record tells."""

    seconds: float | None
    size: float | None


class Past:
    """The records of past runs below a folder.

    A run is expected to take as long per image and epoch as past ones of the same networks and method on this kind
    of device, or else as those of the same networks, or else of the same trained network.

    Args:
        folders: where run folders are, such as ``output``.
        device: kind of the device to be used, ``cpu`` or ``cuda``.
        processes: that are to train a run together; the speed of other numbers tells nothing.
    """

    def __init__(self, folders: Iterable[Path], device: str, processes: int = 1) -> None:
        self.processes = processes
        self.speed: dict[tuple[str | None, ...], list[float]] = defaultdict(list)
        self.size: dict[str, list[int]] = defaultdict(list)
        self.images: dict[str, float] = {}
        for folder in folders:
            for file in folder.glob("*/*/record.json"):
                try:
                    self._learn(json.loads(file.read_text(encoding="utf-8")), file.parent, device)
                except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
                    continue  # a damaged record tells nothing

    def _learn(self, record: dict[str, Any], folder: Path, device: str) -> None:
        if record["status"] != "finished":
            return
        dataset, student, protocol = record["dataset"], record["student"]["architecture"], record["protocol"]
        teacher = record["teacher"]["architecture"] if record["teacher"] else None
        images = record["num_train"] / (protocol["fraction"] * (1 - protocol["holdout"]))
        speed = record["seconds"] / (record["epoch"] * record["num_train"])
        likes = _likes(dataset, student, teacher, record["method"])
        if not (0 < images < math.inf and 0 <= speed < math.inf and all(map(hash, likes))):
            return
        if record["device"].startswith(device) and record.get("processes", 1) == self.processes:
            for like in likes:
                self.speed[like].append(speed)
        self.size[student].append(sum(entry.stat().st_size for entry in folder.rglob("*") if entry.is_file()))
        self.images[dataset] = images

    def cost(self, run: PlannedRun) -> Cost:
        """What a run takes in all."""
        dataset, student = run.cfg.DATASET.TYPE, run.cfg.DISTILLER.STUDENT
        teacher = run.cfg.DISTILLER.TEACHER
        if run.teacher is not None:
            teacher = run.teacher.cfg.DISTILLER.STUDENT
        if run.cfg.DISTILLER.TYPE in ("NONE", "ICC"):
            teacher = None
        sizes = self.size.get(student)
        speeds = next(
            filter(None, map(self.speed.get, _likes(dataset, student, teacher, run.cfg.DISTILLER.TYPE))), None
        )
        seconds = None
        if speeds and dataset in self.images:
            node = run.cfg.DATASET
            seconds = median(speeds) * self.images[dataset] * node.FRACTION * (1 - node.HOLDOUT) * run.cfg.SOLVER.EPOCHS
        return Cost(seconds, median(sizes) if sizes else None)


def _likes(dataset: str, student: str, teacher: str | None, method: str) -> list[tuple[str | None, ...]]:
    return [(dataset, student, teacher, method), (dataset, student, teacher), (dataset, student)]


def total(values: Iterable[float | None]) -> tuple[float, int]:
    """The sum of what is known, and how many are not."""
    values = list(values)
    known = [value for value in values if value is not None]
    return sum(known), len(values) - len(known)


def in_bytes(size: float) -> str:
    """A size in words, ``1.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def free(folder: Path) -> int:
    """Bytes free on the disk that a folder is, or would be, on."""
    there = next(parent for parent in [folder.absolute(), *folder.absolute().parents] if parent.exists())
    stat = os.statvfs(there)
    return stat.f_bavail * stat.f_frsize
