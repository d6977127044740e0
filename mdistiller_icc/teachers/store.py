"""The teacher store: where trained teachers live, under which names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from mdistiller_icc.calling import call
from mdistiller_icc.config import read_yaml
from mdistiller_icc.paths import expand
from mdistiller_icc.shipped import configs

KINDS = {"ICC": "icc", "NONE": "vanilla"}
"""The recipes that make teachers (``DISTILLER.TYPE``) and the kind of teacher each makes."""


class TeacherName(NamedTuple):
    """A name such as ``resnet110_icc``, taken apart."""

    architecture: str
    kind: str

    def __str__(self) -> str:
        return f"{self.architecture}_{self.kind}"


def parse(name: str) -> TeacherName | None:
    """Take ``X_icc`` or ``X_vanilla`` apart; None for any other name.

    >>> parse("wrn_40_2_icc")
    TeacherName(architecture='wrn_40_2', kind='icc')
    """
    architecture, _, kind = name.rpartition("_")
    return TeacherName(architecture, kind) if architecture and kind in KINDS.values() else None


def root() -> Path:
    """The store's folder: ``$MDISTILLER_ICC_TEACHERS``, or ``teachers`` in the working folder."""
    return expand(os.environ.get("MDISTILLER_ICC_TEACHERS") or "teachers", "MDISTILLER_ICC_TEACHERS")


def path(dataset: str, teacher: TeacherName, seed: int | None = None) -> Path:
    """Where the teacher's checkpoint is, or would be; without a seed, the teacher trained without naming one."""
    suffix = "" if seed is None else f"_seed{seed}"
    return root() / dataset / f"{teacher}{suffix}.pth"


def seeds(dataset: str, teacher: TeacherName) -> list[int]:
    """The seeds for which the store has this teacher, ascending."""
    found = (root() / dataset).glob(f"{teacher}_seed*.pth")
    numbers = (file.stem.rpartition("_seed")[2] for file in found)
    return sorted(int(number) for number in numbers if number.isdigit())


def command(dataset: str, teacher: TeacherName, seed: int | None = None) -> str:
    """The command line that trains a teacher the store lacks, from the configuration made for it if there is one."""
    seeded = "" if seed is None else f" --seed {seed}"
    for name, file in configs().items():
        recipe = read_yaml(file) if name.startswith(f"{teacher.kind}/") else {}
        trained = recipe.get("DISTILLER", {}).get("STUDENT")
        if (recipe.get("DATASET", {}).get("TYPE", "cifar100"), trained) == (dataset, teacher.architecture):
            return f"{call('teacher')} --cfg {name}{seeded}"
    overrides = f"DISTILLER.STUDENT {teacher.architecture} DATASET.TYPE {dataset}"
    return f"{call('teacher')} --cfg {teacher.kind}/res110{seeded} {overrides}"
