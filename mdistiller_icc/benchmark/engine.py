"""Our trainer and mdistiller's own, on the same pair, batch size and images, one process each, in turn."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from mdistiller_icc.benchmark.ratio import ratio
from mdistiller_icc.errors import UserError


class Pair(NamedTuple):
    """A comparison: method, networks, and the ratio aimed at."""

    method: str
    teacher: str
    student: str
    target: float


PAIRS = {
    "dkd": Pair("DKD", "resnet20", "resnet8", 3.5),
    "crd": Pair("CRD", "resnet20", "resnet8", 10.0),
    "teacher": Pair("NONE", "resnet20", "resnet32x4", 2.5),
    "dkd-gpu": Pair("DKD", "resnet32x4", "resnet8x4", 8.0),
}


def find_mdistiller() -> str | None:
    """Where mdistiller is: ``MDISTILLER_ROOT``, or wherever Python would import it from; None if it is nowhere.

    Raises:
        UserError: ``MDISTILLER_ROOT`` holds no mdistiller.
    """
    root = os.environ.get("MDISTILLER_ROOT")
    if root:
        if not (Path(root) / "mdistiller" / "engine").is_dir():
            raise UserError(f"MDISTILLER_ROOT: {root} holds no mdistiller/engine")
        return str(Path(root).resolve())
    spec = importlib.util.find_spec("mdistiller")
    places = list(spec.submodule_search_locations or []) if spec else []
    return str(Path(places[0]).parent) if places else None


def compare(
    name: str, *, root: str | None, rounds: int, seconds: float, threads: int, options: list[str]
) -> dict[str, Any]:
    """Run both sides alternately; without mdistiller, ours alone.

    Args:
        name: of a pair in `PAIRS`.
        root: of CIFAR-100's data set; None for digits in its shape.
        rounds: pairs of measurements.
        seconds: that each measurement lasts after its warm-up.
        threads: torch's, on both sides.
        options: ``KEY VALUE`` pairs for our side's configuration.
    """
    pair = PAIRS[name]
    mdistiller = find_mdistiller()
    sides = ["theirs", "ours"] if mdistiller else ["ours"]
    measured: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(rounds):
        # Each side goes first as often as the other.
        for side in sides if number % 2 == 0 else sides[::-1]:
            task = pair._asdict() | {
                "side": side, "root": root and str(Path(root).resolve()), "seconds": seconds, "threads": threads,
                "options": options, "mdistiller": mdistiller,
            }  # fmt: skip
            measured[side].append(_run(task))
    speeds = {side: [answer["images_per_second"] for answer in answers] for side, answers in measured.items()}
    result: dict[str, Any] = {
        "pair": f"{pair.method} {pair.teacher} -> {pair.student}" if pair.method != "NONE" else f"CE {pair.student}",
        "options": options,
        "target": pair.target,
        "images_per_second": {side: statistics.median(values) for side, values in speeds.items()},
        "peak_gib": {side: max(a["peak_gib"] for a in answers) for side, answers in measured.items()},
        "worker_gib": {side: max(a["worker_gib"] for a in answers) for side, answers in measured.items()},
    }
    if all("device_gib" in answer for answers in measured.values() for answer in answers):  # on a GPU
        result["device_gib"] = {side: max(a["device_gib"] for a in answers) for side, answers in measured.items()}
    if mdistiller:
        result["ratio"] = ratio(speeds["ours"], speeds["theirs"])._asdict()
    return result


def _run(task: dict[str, Any]) -> dict[str, float]:
    environment = os.environ | {"OMP_NUM_THREADS": str(task["threads"])}
    # mdistiller's DataParallel takes every GPU it sees; ours takes one.
    environment["CUDA_VISIBLE_DEVICES"] = environment.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    if task["side"] == "ours":
        environment["MDISTILLER_ICC_HOST"] = "builtin"
    with tempfile.TemporaryDirectory() as folder:
        task = task | {"answer": f"{folder}/answer.json"}
        line = [sys.executable, "-m", "mdistiller_icc.benchmark.side", json.dumps(task)]
        done = subprocess.run(line, env=environment, capture_output=True, text=True)
        if done.returncode:
            told = (done.stderr or done.stdout).strip().splitlines()
            raise UserError(f"benchmark: {task['side']} of {task['method']} failed: {told[-1] if told else ''}")
        return json.loads(Path(task["answer"]).read_text(encoding="utf-8"))
