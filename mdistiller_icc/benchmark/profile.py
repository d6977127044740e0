"""Where the time of a training step goes, with and without what makes it fast."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import torch
from torch.profiler import ProfilerActivity
from torch.utils.flop_counter import FlopCounterMode

from mdistiller_icc.benchmark import images
from mdistiller_icc.benchmark.engine import PAIRS
from mdistiller_icc.errors import UserError

SIDES = ("before", "after")
PLAIN = ["SOLVER.PRECISION", "fp32", "SOLVER.CHANNELS_LAST", "never"]
"""What ``before`` is set to; its teacher is not folded either, and the allocator is left as it is."""
STEPS = 20
WARM_UP = 5
FAMILIES = {
    "convolution, backward": ("convolution_backward", "convolution_backward_weights"),
    "convolution, forward": ("convolution", "conv2d"),
    "batch norm, backward": ("batch_norm_backward",),
    "batch norm, forward": ("batch_norm",),
    "ReLU, backward": ("threshold_backward",),
    "ReLU, forward": ("relu", "relu_", "clamp_min", "clamp_min_"),
    "sums": ("add", "add_", "sum"),
    "copies and casts": ("copy_", "clone", "_to_copy", "contiguous"),
    "optimiser": ("_fused_sgd_", "_fused_adamw_"),
}
"""The operations of each, by how their name ends; the first family that fits takes an operation."""


def profile(pair: str, root: str | None, threads: int, options: list[str]) -> dict[str, Any]:
    """The families' shares of a step's operations before and after, calls per step, and the two steps' times."""
    told = {}
    for side in SIDES:
        task = {"pair": pair, "side": side, "root": root, "options": PLAIN if side == "before" else options}
        line = [sys.executable, "-m", "mdistiller_icc.benchmark.profile", json.dumps(task)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(line, env=environment, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr or done.stdout).strip().splitlines()
            raise UserError(f"benchmark: profile of {pair}, {side}, failed: {reason[-1] if reason else ''}")
        told[side] = json.loads(done.stdout.splitlines()[-1])
    ratio = told["after"]["milliseconds"] / told["before"]["milliseconds"]
    return {"pair": pair, "options": options, **told, "after / before": ratio}


def measure(pair: str, side: str, root: str | None, options: list[str]) -> dict[str, Any]:
    """One side, in this process."""
    from mdistiller_icc.benchmark.steps import Stepper
    from mdistiller_icc.engine import trainer

    images.install(images.source(root))
    if side == "before":
        trainer.keep_freed_memory = lambda: False
    method, teacher, student, _target = PAIRS[pair]
    stepper = Stepper(method, student, teacher, options)
    device = stepper.trainer.device
    if side == "before" and method != "NONE":
        stepper.distiller.teach = torch.no_grad()(stepper.distiller.teacher.forward)
    for _ in range(WARM_UP):
        stepper.step()
    seconds = []
    for _ in range(STEPS):
        begun = time.perf_counter()
        stepper.step()
        seconds.append(time.perf_counter() - begun)
    with FlopCounterMode(display=False) as counted:
        stepper.step()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with torch.profiler.profile(activities=activities) as recorded:
        for _ in range(STEPS):
            stepper.step()
    events = [event for event in recorded.key_averages() if event.key.startswith("aten::")]
    own = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    total = sum(getattr(event, own) for event in events)
    shares: dict[str, str] = {}
    left = events
    for family, endings in FAMILIES.items():
        mine = [event for event in left if event.key.rpartition("::")[2].removeprefix("native_").endswith(endings)]
        left = [event for event in left if event not in mine]
        time_taken = sum(getattr(event, own) for event in mine)
        # Of operations that call one another, the one that does the work is called as often as any.
        calls = max((event.count for event in mine if getattr(event, own) > 0.2 * time_taken), default=0)
        shares[family] = f"{time_taken / total:.1%} in {calls / STEPS:g} calls"
    rest = sum(getattr(event, own) for event in left)
    operations = counted.get_flop_counts()["Global"]
    convolutions = sum(flops for kind, flops in operations.items() if "convolution" in str(kind)) / 2
    return {
        "milliseconds": 1e3 * statistics.median(seconds),
        "billion multiplications in convolutions": convolutions / 1e9,
        **shares,
        "everything else": f"{rest / total:.1%}",
    }


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
