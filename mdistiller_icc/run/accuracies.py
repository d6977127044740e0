"""One accuracy for every protocol the field reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PROTOCOLS = ("last", "mean_last_10", "best_test", "heldout_selected")


def accuracies(history: list[dict[str, Any]], metric: str, by: str = "top1") -> dict[str, float | None]:
    """The test accuracy of a run under each protocol, in percent; None where it has none.

    - ``last``: after the last epoch.
    - ``mean_last_10``: mean over the epochs among the last ten that were evaluated.
    - ``best_test``: at the epoch with the best test top-1, which lets the test set choose.
    - ``heldout_selected``: at the epoch with the best top-1 on images held out of the training set.

    Args:
        history: the epochs' metrics, ascending.
        metric: ``top1`` or ``top5``.
        by: the one that an epoch is chosen by.
    """
    tested = [epoch for epoch in history if epoch.get(f"test_{metric}") is not None]
    if not tested:
        return dict.fromkeys(PROTOCOLS)
    recent = [epoch[f"test_{metric}"] for epoch in tested if epoch["epoch"] > history[-1]["epoch"] - 10]
    heldout = [epoch for epoch in tested if epoch.get(f"holdout_{by}") is not None]
    return {
        "last": tested[-1][f"test_{metric}"],
        "mean_last_10": sum(recent) / len(recent) if recent else None,
        "best_test": best(tested, lambda epoch: epoch[f"test_{by}"])[f"test_{metric}"],
        "heldout_selected": best(heldout, lambda epoch: epoch[f"holdout_{by}"])[f"test_{metric}"] if heldout else None,
    }


def best(history: list[dict[str, Any]], score: Callable[[dict[str, Any]], float]) -> dict[str, Any]:
    """The first epoch that reached the highest score."""
    return max(history, key=lambda epoch: (score(epoch), -epoch["epoch"]))
