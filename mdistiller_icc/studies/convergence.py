"""How soon a network is nearly as good as it will be, read from the metrics of its epochs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mdistiller_icc.errors import UserError


def history(folder: Path, epochs: int) -> list[dict[str, Any]]:
    """The metrics of a finished run, epoch by epoch: its ``metrics.jsonl``.

    Raises:
        UserError: the file is missing, damaged or cut.
    """
    file = folder / "metrics.jsonl"
    try:
        found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        found = []
    if [isinstance(one, dict) and one.get("epoch") for one in found] != list(range(1, epochs + 1)):
        written = "without the record.json beside it the same command writes it again from the checkpoint"
        raise UserError(f"{file}: missing or damaged, for it does not hold epochs 1 to {epochs}; {written}")
    return found


def final(history: Sequence[Mapping[str, Any]], key: str = "test_top1") -> float | None:
    """The accuracy of the last epoch that was evaluated, in percent; None if none was.

    >>> final([{"epoch": 1, "test_top1": 40.0}, {"epoch": 2}])
    40.0
    """
    return next((epoch[key] for epoch in reversed(history) if epoch.get(key) is not None), None)


def epochs_until(history: Sequence[Mapping[str, Any]], share: float, key: str = "test_top1") -> int | None:
    """The first epoch whose accuracy is at least ``share`` of the final one; None if no epoch was evaluated.

    It says how fast a run came near its own end, not how good that end is: look at both. Under a step schedule the
    first decay of the rate lifts every run at once, so that a large share tells when the rate decays.

    Args:
        history: of every epoch, in order, ``{"epoch": …, "test_top1": …}``; epochs without an evaluation are passed
            over, so with ``SOLVER.EVAL_EVERY`` N the answer is a multiple of N.
        share: in (0, 1].
        key: which accuracy.

    >>> history = [{"epoch": i + 1, "test_top1": top1} for i, top1 in enumerate([40.0, 65.0, 70.0])]
    >>> epochs_until(history, 0.9)
    2

    Raises:
        ValueError: the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share of the final accuracy lies in (0, 1], not {share}")
    end = final(history, key)
    if end is None:
        return None
    return next(epoch["epoch"] for epoch in history if epoch.get(key) is not None and epoch[key] >= share * end)
