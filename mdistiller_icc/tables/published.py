"""The accuracies that papers and their authors' code have published, with source and tier."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mdistiller_icc.tables.settings import Settings, describe

TIERS = {
    "A": "authors' own code, config or figure",
    "B": "a report that cites sections and equations",
    "C": "an unanchored summary",
}
EPOCHS = {"last": "last epoch", "best": "best test epoch", "": "epoch not stated"}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a published value stands and under which protocol it was obtained, as far as is known."""

    name: str
    tier: str
    epoch: str
    protocol: str

    def __str__(self) -> str:
        protocol = self.protocol or "protocol not stated"
        return f"{self.name}; {EPOCHS[self.epoch]}; {protocol}; tier {self.tier}: {TIERS[self.tier]}"


@dataclass(frozen=True, slots=True)
class Fact:
    """One published value, in percent (or in points, for the metric ``delta_top1``)."""

    dataset: str
    teacher: str
    student: str
    method: str
    metric: str
    value: float
    source: Source


@cache
def facts() -> tuple[Fact, ...]:
    """Every published value of ``published.csv``, in its order."""
    return tuple(
        Fact(
            row["dataset"],
            row["teacher"],
            row["student"],
            row["method"],
            row["metric"],
            float(row["value"]),
            Source(row["source"], row["tier"], row["epoch"], row["protocol"]),
        )
        for row in _rows("published.csv")
    )


def _rows(name: str) -> list[dict[str, str]]:
    with open(Path(__file__).with_name(name), newline="", encoding="utf-8") as file:
        return [*csv.DictReader(file)]


class Benchmark(NamedTuple):
    """The data and the protocol that the field's numbers for a data set are of, unless their source says otherwise.

    Attributes:
        images: the numbers of classes, training and test images.
        protocol: what a run's record must say to stand beside them; learning rates differ by the student.
    """

    images: tuple[int, int, int]
    learning_rates: tuple[float, ...]
    protocol: dict[str, Any]

    def __str__(self) -> str:
        classes, train, test = self.images
        protocol = describe(tuple(self.protocol.items()))
        return f"{protocol}; {train:,} training images, {test:,} test images, {classes:,} classes"

    def holds(self, images: tuple[int | None, ...], protocol: Settings) -> bool:
        """Whether a run was on this data and under this protocol."""
        recorded = dict(protocol)
        same = all(recorded.get(key) == value for key, value in self.protocol.items())
        return same and images == self.images and recorded.get("lr") in self.learning_rates


@cache
def benchmarks() -> dict[str, Benchmark]:
    """What RepDistiller's and mdistiller's configurations train on and under [A]: ``benchmarks.csv``, by data set."""
    return {
        row["dataset"]: Benchmark(
            (int(row["num_classes"]), int(row["num_train"]), int(row["num_test"])),
            tuple(map(float, row["lr"].split())),
            {
                "epochs": int(row["epochs"]),
                "batch_size": int(row["batch_size"]),
                "optimizer": "SGD",
                "momentum": 0.9,
                "weight_decay": float(row["weight_decay"]),
                "schedule": "step",
                "lr_decay_stages": tuple(map(int, row["lr_decay_stages"].split())),
                "lr_decay_rate": 0.1,
                "augmentation": row["augmentation"],
                "views": 1,
                "fraction": 1,
                "holdout": 0,
            },
        )
        for row in _rows("benchmarks.csv")
    }


@cache
def _by_cell() -> dict[tuple[str, ...], Fact]:
    named = [fact for fact in facts() if fact.teacher and fact.student]
    usual = [fact for fact in named if fact.source.protocol in ("", f"{_epochs(fact.dataset)} epochs")]
    return {(f.dataset, f.teacher, f.student, f.method, f.metric): f for f in usual}


def _epochs(dataset: str) -> int:
    epochs: int = benchmarks()[dataset].protocol["epochs"]
    return epochs


def lookup(dataset: str, teacher: str, student: str, method: str, metric: str) -> Fact | None:
    """The value of one cell that is published for the data set's benchmark, or None where none is known.

    >>> lookup("cifar100", "resnet56", "resnet20", "KD", "top1").value
    70.66

    Args:
        method: a distiller's name, ``teacher`` (the teacher's own accuracy) or ``student`` (trained alone).
    """
    return _by_cell().get((dataset, teacher, student, method, metric))


def without_pair(dataset: str) -> list[Fact]:
    """What is published for a data set without naming the teacher and the student, so that it fits no cell."""
    return [fact for fact in facts() if fact.dataset == dataset and not (fact.teacher and fact.student)]


@cache
def pair_order() -> dict[tuple[str, ...], int]:
    """The teacher-student pairs in the order in which the literature lists them."""
    return {pair: i for i, pair in enumerate(dict.fromkeys((f.teacher, f.student) for f in facts()))}
