"""Accuracy over the epochs, from the ``metrics.jsonl`` of a cell's runs."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Band:
    """Mean, lowest and highest test accuracy over some runs, for every epoch that was evaluated."""

    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def band(folders: Iterable[str], metric: str) -> Band | None:
    """The band of several runs; None where none of them has readable metrics.

    Args:
        folders: run folders.
        metric: ``top1`` or ``top5``.
    """
    values: dict[int, list[float]] = defaultdict(list)
    for folder in folders:
        for epoch, accuracy in accuracies(folder, f"test_{metric}").items():
            values[epoch].append(accuracy)
    if not values:
        return None
    epochs = tuple(sorted(values))
    by_epoch = [values[epoch] for epoch in epochs]
    mean = tuple(sum(many) / len(many) for many in by_epoch)
    return Band(epochs, mean, tuple(map(min, by_epoch)), tuple(map(max, by_epoch)))


def accuracies(folder: str, key: str) -> dict[int, float]:
    """One value by epoch; unreadable lines are passed over, and the later of two lines of an epoch counts."""
    found = {}
    try:
        with open(os.path.join(folder, "metrics.jsonl"), encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    metrics = json.loads(line)
                    found[int(metrics["epoch"])] = float(metrics[key])
                except (ValueError, KeyError, TypeError, RecursionError):
                    continue
    except OSError:
        return {}
    return {epoch: value for epoch, value in found.items() if 0 <= value <= 100}
