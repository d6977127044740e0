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
BESIDE = {"last": ("last", ""), "mean10": ("last", ""), "best": ("best", ""), "heldout": ()}
"""The published epochs that stand beside an accuracy, by how it is chosen (``--select``)."""
FREE = ("precision", "compile", "upstream", "sync_bn", "batch_norm_images")
"""What a run's protocol may say that published ones are silent of: their authors vary it too, or it is their code's."""
SINGLE_RUN = "; single run"
ELSEWHERE = ("240 epochs; lr 0.1; Nesterov", "independent reproduction")
"""Protocols of sources that no run here is under, or of which too little is told: their values stand beside none."""


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

    @property
    def benchmark(self) -> Benchmark | None:
        """What it was obtained on and under, the data set's usual one if its source is silent; None if not run here."""
        protocol = self.source.protocol.removesuffix(SINGLE_RUN)
        return benchmarks().get(self.dataset, {}).get(protocol) if protocol else usual(self.dataset)

    def fits(self, images: tuple[int | None, ...], protocol: Settings, select: str) -> bool:
        """Whether it may stand beside a run's accuracy: the same data, protocol and choice of the epoch."""
        benchmark = self.benchmark
        return benchmark is not None and benchmark.holds(images, protocol) and self.source.epoch in BESIDE[select]


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
    """The data and the protocol that published numbers are of; a data set's first is that of silent sources.

    Attributes:
        images: the numbers of classes, training and test images.
        image_size: of the data set, which a record says only where it was asked for.
        protocol: what a run's record must say to stand beside them; learning rates differ by the student.
    """

    images: tuple[int, int, int]
    image_size: int
    learning_rates: tuple[float, ...]
    protocol: dict[str, Any]

    def __str__(self) -> str:
        classes, train, test = self.images
        protocol = describe(tuple(self.protocol.items()))
        return f"{protocol}; {train:,} training images, {test:,} test images, {classes:,} classes"

    def holds(self, images: tuple[int | None, ...], protocol: Settings) -> bool:
        """Whether a run was on this data and under this protocol."""
        recorded = {key: value for key, value in protocol if key not in FREE}
        lr, size = recorded.pop("lr", None), recorded.pop("image_size", self.image_size)
        same = recorded == self.protocol and images == self.images and size == self.image_size
        return same and lr in self.learning_rates


@cache
def benchmarks() -> dict[str, dict[str, Benchmark]]:
    """What the authors' configurations train on and under [A]: ``benchmarks.csv``, by data set and sources' words."""
    found: dict[str, dict[str, Benchmark]] = {}
    for row in _rows("benchmarks.csv"):
        protocol = {
            "epochs": int(row["epochs"]),
            "batch_size": int(row["batch_size"]),
            "optimizer": "SGD",
            "momentum": 0.9,
            "weight_decay": float(row["weight_decay"]),
            "schedule": "step",
            "lr_decay_stages": tuple(map(int, row["lr_decay_stages"].split())),
            "lr_decay_rate": 0.1,
            "augmentation": row["augmentation"],
            "views": int(row["views"]),
            **({"strong_view": row["strong_view"]} if row["strong_view"] else {}),
            "fraction": 1,
            "holdout": 0,
        }
        images = int(row["num_classes"]), int(row["num_train"]), int(row["num_test"])
        size, rates = int(row["image_size"]), tuple(map(float, row["lr"].split()))
        found.setdefault(row["dataset"], {})[row["protocol"]] = Benchmark(images, size, rates, protocol)
    return found


def usual(dataset: str) -> Benchmark | None:
    """What a data set's teachers are trained on and under, and students of silent sources; None if unknown."""
    return next(iter(benchmarks().get(dataset, {}).values()), None)


@cache
def _by_cell() -> dict[tuple[str, ...], list[Fact]]:
    """The values of each cell: what says its epoch first, then means before single runs, then by tier."""
    cells: dict[tuple[str, ...], list[Fact]] = {}
    for fact in facts():
        if fact.teacher and fact.student:
            cells.setdefault((fact.dataset, fact.teacher, fact.student, fact.method, fact.metric), []).append(fact)
    for several in cells.values():
        several.sort(key=_rank)
    return cells


def _rank(fact: Fact) -> tuple[bool, bool, str]:
    return not fact.source.epoch, fact.source.protocol.endswith(SINGLE_RUN), fact.source.tier


def published(dataset: str, teacher: str, student: str, method: str, metric: str) -> list[Fact]:
    """Everything that is published for one cell, whatever the protocol.

    >>> [fact.value for fact in published("cifar100", "resnet56", "resnet20", "KD", "top1")]
    [70.66]

    Args:
        method: as records name it, ``teacher`` (the teacher's own accuracy) or ``student`` (trained alone).
    """
    return _by_cell().get((dataset, teacher, student, method, metric), [])


def published_alone(dataset: str, network: str, metric: str) -> list[Fact]:
    """What is published for a network trained without a teacher, be it as a teacher or as a student, each value once.

    >>> [fact.value for fact in published_alone("cifar100", "vgg8", "top1")]
    [70.36]
    """
    found: dict[tuple[float, Source], Fact] = {}
    for (of, teacher, student, method, measure), several in _by_cell().items():
        if (of, measure) == (dataset, metric) and network == {"teacher": teacher, "student": student}.get(method):
            found |= {(fact.value, fact.source): fact for fact in several if (fact.value, fact.source) not in found}
    return sorted(found.values(), key=_rank)


def without_pair(dataset: str) -> list[Fact]:
    """What is published for a data set without naming the teacher and the student, so that it fits no cell."""
    return [fact for fact in facts() if fact.dataset == dataset and not (fact.teacher and fact.student)]


@cache
def pair_order() -> dict[tuple[str, ...], int]:
    """The teacher-student pairs in the order in which the literature lists them."""
    return {pair: i for i, pair in enumerate(dict.fromkeys((f.teacher, f.student) for f in facts()))}
