"""One side of a comparison, in a process of its own: the trainer's own epoch, of which some seconds are timed."""

from __future__ import annotations

import itertools
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import torch


class Timed:
    """A trainer's ``loader`` that times some ``seconds`` of what is done with its batches, then ends."""

    LEAST = 4  # steps that count, however long they take

    def __init__(self, loader: Any, seconds: float) -> None:
        self.loader, self.seconds, self.images_per_second = loader, seconds, 0.0

    def __getattr__(self, name: str) -> Any:  # whatever else a trainer or a method asks of a loader
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        warm_up = 20 if torch.cuda.is_available() else 3  # a GPU tries algorithms and captures graphs
        begun = 0.0
        # A fast device is through the epoch before the time is up. An epoch's last, smaller batch is left out: compiled
        # code is made anew for its size, which takes longer than what is timed.
        batches = itertools.chain.from_iterable(itertools.repeat(self.loader))
        first = next(batches)
        size = len(first[0])
        alike = (batch for batch in itertools.chain([first], batches) if len(batch[0]) == size)
        for step, batch in enumerate(alike, -warm_up):
            if step == 0:
                wait()
                begun = time.perf_counter()
            if step >= self.LEAST and time.perf_counter() - begun >= self.seconds:
                wait()  # it may lag behind by many steps
                self.images_per_second = step * size / (time.perf_counter() - begun)
                return
            yield batch


def wait() -> None:
    """Until a GPU, if there is one, has done what it was asked to."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ours(pair: tuple[str, str, str], seconds: float, options: list[str]) -> Timed:
    """An epoch of our trainer."""
    from benchmarks.ours import configuration, load, trainer

    cfg = configuration(*pair, options)
    dataset = load(cfg)
    train = Timed(dataset.train, seconds)
    trainer(cfg, dataset, train, [next(iter(dataset.test))]).train_epoch(1)
    return train


def theirs(pair: tuple[str, str, str], seconds: float) -> Timed:
    """An epoch of mdistiller's own trainer."""
    from benchmarks.theirs import trainer

    trainer_class, distiller, loader, test, cfg = trainer(*pair)
    train = Timed(loader, seconds)
    trainer_class("benchmark", distiller, train, [next(iter(test))], cfg).train_epoch(1)
    return train


def main() -> None:
    """Do what the command line's JSON says; the last line printed says how fast it was."""
    task = json.loads(sys.argv[1])
    os.chdir(tempfile.mkdtemp())
    pair, seconds = task["pair"], task["seconds"]
    train = ours(pair, seconds, task["options"]) if task["side"] == "ours" else theirs(pair, seconds)
    told = {"images_per_second": train.images_per_second}
    told["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
    if torch.cuda.is_available():
        told["device_gib"] = torch.cuda.max_memory_allocated() / 2**30
    print(f"\n{json.dumps(told)}")


if __name__ == "__main__":
    main()
