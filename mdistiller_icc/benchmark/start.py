"""How long a user waits: from the command to the end of the first training step, against importing torch."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from mdistiller_icc.benchmark.ratio import alternate, ratio
from mdistiller_icc.errors import UserError

RUN = ["DISTILLER.TYPE", "NONE", "DISTILLER.STUDENT", "resnet20"]


def start(root: str | None, rounds: int, options: list[str]) -> dict[str, Any]:
    """Seconds until the first step of a CIFAR-100 teacher is done, whose images were decoded before; as a ratio too.

    Args:
        root: of CIFAR-100's data set; None for the digits, as their own data set.
        rounds: pairs of measurements.
        options: ``KEY VALUE`` pairs.

    Raises:
        UserError: the command failed.
    """
    data = (
        ["DATASET.TYPE", "cifar100", "DATASET.ROOT", str(Path(root).resolve())] if root else ["DATASET.TYPE", "digits"]
    )
    with tempfile.TemporaryDirectory() as folder:
        ours = [sys.executable, "-m", "mdistiller_icc.benchmark.start", *data, *RUN, *options]
        torch = [sys.executable, "-c", "import torch"]
        lines = {"first step": ours, "import torch": torch}
        calls = {name: partial(_run, line, folder) for name, line in lines.items()}
        seconds = alternate(calls, rounds, warm_up=1)
    medians = {name: sorted(values)[len(values) // 2] for name, values in seconds.items()}
    return {"seconds": medians, "ratio": ratio(seconds["first step"], seconds["import torch"])._asdict()}


def _run(line: list[str], folder: str) -> None:
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines()
        raise UserError((told[-1] if told else "the command failed").removeprefix("error: "))


def main() -> None:
    """Be tools/train_teacher.py up to the end of its first step."""
    from mdistiller_icc.benchmark.device import wait_for
    from mdistiller_icc.command_line import train
    from mdistiller_icc.engine.trainer import Trainer

    step = Trainer.step

    def first(self: Trainer, *arguments: Any) -> None:
        step(self, *arguments)
        wait_for(self.device)
        os._exit(0)

    Trainer.step = first  # type: ignore[assignment,method-assign]
    sys.argv.append("--overwrite")
    train("", role="teacher")


if __name__ == "__main__":
    from mdistiller_icc.errors import exit_status

    raise SystemExit(exit_status(main))
