"""The accuracies that papers and their authors' code have published, with source and tier."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

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
    with open(Path(__file__).with_name("published.csv"), newline="", encoding="utf-8") as file:
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
            for row in csv.DictReader(file)
        )


@cache
def _by_cell() -> dict[tuple[str, ...], Fact]:
    return {(f.dataset, f.teacher, f.student, f.method, f.metric): f for f in facts() if f.teacher and f.student}


def lookup(dataset: str, teacher: str, student: str, method: str, metric: str) -> Fact | None:
    """The published value of one cell, or None where none is known.

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
