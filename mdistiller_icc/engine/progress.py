"""What a person watching a run sees: what is running, how much is left, the accuracy so far."""

from __future__ import annotations

import os
import sys
from typing import Any, Protocol

from tqdm import tqdm


class Progress(Protocol):
    """How a trainer tells of its progress."""

    def start(self, title: str, epochs: int, steps: int, done: int) -> None:
        """A run of ``epochs`` epochs of ``steps`` steps begins, or goes on after ``done`` epochs."""

    def step(self) -> None:
        """One step was taken; called often, so it must cost nothing."""

    def epoch(self, metrics: dict[str, Any]) -> None:
        """An epoch ended with these metrics."""

    def note(self, line: str) -> None:
        """Something the person should know."""

    def close(self) -> None:
        """The run ended, whether it finished or not."""


class Bar:
    """A progress bar on a terminal; a line per epoch where standard error is a file, a pipe or a dumb terminal."""

    def __init__(self) -> None:
        self.drawn = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.bar: tqdm[Any] | None = None
        self.epochs = 0

    def start(self, title: str, epochs: int, steps: int, done: int) -> None:
        self.epochs = epochs
        if self.drawn:
            self.bar = tqdm(
                total=epochs * steps,
                initial=done * steps,
                desc=title,
                unit="step",
                dynamic_ncols=True,
                smoothing=0.02,
                bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed} elapsed, {remaining} left {postfix}",
            )
        else:
            print(title, file=sys.stderr, flush=True)

    def step(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def epoch(self, metrics: dict[str, Any]) -> None:
        if self.bar is not None:
            self.bar.set_postfix_str(summary(metrics), refresh=False)
        else:
            print(f"  epoch {metrics['epoch']}/{self.epochs}: {summary(metrics)}", file=sys.stderr, flush=True)

    def note(self, line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class Silent:
    """No progress shown."""

    def start(self, title: str, epochs: int, steps: int, done: int) -> None: ...

    def step(self) -> None: ...

    def epoch(self, metrics: dict[str, Any]) -> None: ...

    def note(self, line: str) -> None: ...

    def close(self) -> None: ...


def summary(metrics: dict[str, Any]) -> str:
    """The figures that matter of an epoch, in a few words."""
    figures = [("train", "train_top1"), ("test", "test_top1"), ("held out", "holdout_top1")]
    figures += [("box AP", "test_box_ap"), ("mask AP", "test_mask_ap")]
    shown = [f"{name} {metrics[key]:.2f} %" for name, key in figures if metrics.get(key) is not None]
    loss = metrics.get("train_loss")
    return ", ".join([f"loss {loss:.3f}" if loss is not None else "loss not finite", *shown])
