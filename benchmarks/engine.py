"""Our trainer and mdistiller's own, on the same pair and batch size, one process each, in turn."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.ratio import ratio
from mdistiller_icc.errors import UserError, nearest

PAIRS = {  # method, student, teacher; plain training does not ask its teacher
    "dkd": ("DKD", "resnet8", "resnet20"),
    "crd": ("CRD", "resnet8", "resnet20"),
    "teacher": ("NONE", "resnet32x4", "resnet20"),
    "dkd-gpu": ("DKD", "resnet8x4", "resnet32x4"),
}


def measure(name: str, rounds: int, seconds: float, options: list[str]) -> dict[str, Any]:
    """Measure both sides of a pair in turn; without mdistiller, ours alone.

    Each side trains for some ``seconds``, as often as there are ``rounds``; ``options`` are our side's.

    Raises:
        UserError: there is no such pair, ``MDISTILLER_ROOT`` holds no mdistiller, or one side failed.
    """
    if name not in PAIRS:
        raise UserError(f"--pair {name}: not one of {', '.join(PAIRS)}{nearest(name, PAIRS)}")
    root = os.environ.get("MDISTILLER_ROOT", "")
    if root and not (Path(root) / "mdistiller" / "engine").is_dir():
        raise UserError(f"MDISTILLER_ROOT: {root} holds no mdistiller/engine")
    both = root or importlib.util.find_spec("mdistiller")
    measured: dict[str, list[dict[str, float]]] = {"theirs": [], "ours": []} if both else {"ours": []}
    task = {"pair": PAIRS[name], "seconds": seconds, "options": options}
    for number in range(rounds):
        # Each side goes first as often as the other.
        for side in list(measured)[:: 1 if number % 2 == 0 else -1]:
            measured[side].append(_run(task | {"side": side}, root))
    result: dict[str, Any] = {"pair": list(PAIRS[name])}
    for figure in measured["ours"][0]:
        result[figure] = {side: statistics.median(told[figure] for told in measured[side]) for side in measured}
    if both:
        speeds = {side: [told["images_per_second"] for told in measured[side]] for side in measured}
        result["ratio"] = ratio(speeds["ours"], speeds["theirs"])
    return result


def _run(task: dict[str, Any], root: str) -> dict[str, float]:
    paths = [str(Path(root).resolve()), os.getcwd(), os.environ.get("PYTHONPATH", os.getcwd())]
    # mdistiller's DataParallel takes every GPU it sees; ours takes one.
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "CUDA_VISIBLE_DEVICES": gpu}
    line = [sys.executable, "-m", "benchmarks.side", json.dumps(task)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines()
        raise UserError(f"engine: {task['side']} failed: {told[-1] if told else done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])
