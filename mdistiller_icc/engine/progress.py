"""What a person watching a run sees: what is running, how much is left, the accuracy so far."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, Protocol

from tqdm import tqdm

FORMAT = "{percentage:3.0f} % |{bar}| {desc}, {remaining} left"


class Progress(Protocol):
    """How a trainer tells of its progress."""

    def start(self, title: str, epochs: int, done: int, steps: int, taken: int) -> None:
        """A run begins, or goes on.

        Args:
            title: the run's name.
            epochs: of the run, of which ``done`` are trained.
            steps: batches that it trains and evaluates on in all, of which ``taken`` lie behind it.
        """

    def step(self) -> None:
        """One batch was trained or evaluated on; called often, so it must cost nothing."""

    def epoch(self, metrics: dict[str, Any]) -> None:
        """An epoch ended with these metrics."""

    def note(self, line: str) -> None:
        """Something the person should know."""

    def about(self, line: str) -> None:
        """Something the person may like to know."""

    def close(self) -> None:
        """The run ended, whether it finished or not."""


class Bar:
    """The run's name and a line per epoch on standard error, and on a terminal a bar below them."""

    def __init__(self) -> None:
        self.bar: tqdm[Any] | None = None
        self.epochs = 0

    def start(self, title: str, epochs: int, done: int, steps: int, taken: int) -> None:
        self.epochs = epochs
        self.note(title)
        if drawn():
            # Batches of an evaluation are faster than those of training, so the speed is that since the beginning.
            self.bar = tqdm(
                desc=self._next(done), total=steps, initial=taken, bar_format=FORMAT, dynamic_ncols=True, smoothing=0,
                miniters=1, leave=False,
            )  # fmt: skip

    def step(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def epoch(self, metrics: dict[str, Any]) -> None:
        if self.bar is not None:
            self.bar.set_description_str(self._next(metrics["epoch"], metrics), refresh=False)
        self.note(f"  epoch {metrics['epoch']}/{self.epochs}: {summary(metrics)}")

    def note(self, line: str) -> None:
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()

    def about(self, line: str) -> None:
        self.note(line)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _next(self, done: int, metrics: dict[str, Any] | None = None) -> str:
        tested = [one for one in figures(metrics or {}) if not one.startswith("train")]
        return ", ".join([f"epoch {min(done + 1, self.epochs)}/{self.epochs}", *tested])


class Silent:
    """No progress shown."""

    def start(self, title: str, epochs: int, done: int, steps: int, taken: int) -> None: ...

    def step(self) -> None: ...

    def epoch(self, metrics: dict[str, Any]) -> None: ...

    def note(self, line: str) -> None: ...

    def about(self, line: str) -> None: ...

    def close(self) -> None: ...


class Quiet(Silent):
    """No progress shown, but what the person should know."""

    def note(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def drawn() -> bool:
    """Whether standard error is a terminal on which a bar can be drawn."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def evaluating(batches: Iterable[Any], what: str, quiet: bool = False) -> Iterable[Any]:
    """The batches of an evaluation that is no part of a run, with a bar that goes when it ends."""
    hidden = quiet or not drawn()
    return tqdm(batches, desc=what, bar_format=FORMAT, dynamic_ncols=True, leave=False, disable=hidden)


FIGURES = {
    "train_top1": "train", "test_top1": "test", "holdout_top1": "held out", "test_box_ap": "box AP",
    "test_mask_ap": "mask AP",
}  # fmt: skip


def figures(metrics: dict[str, Any]) -> list[str]:
    """How well an epoch's network does, figure by figure."""
    return [f"{name} {metrics[key]:.2f} %" for key, name in FIGURES.items() if metrics.get(key) is not None]


def summary(metrics: dict[str, Any]) -> str:
    """The figures that matter of an epoch, in a few words."""
    loss = metrics.get("train_loss")
    return ", ".join([f"loss {loss:.3f}" if loss is not None else "loss not finite", *figures(metrics)])
