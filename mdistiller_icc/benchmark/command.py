"""The arguments of tools/benchmark.py, and what it prints."""

from __future__ import annotations

import argparse
import json
import os
import platform
from typing import Any

WHAT = {
    "engine": "our trainer against mdistiller's own, in turn (MDISTILLER_ROOT, or an importable mdistiller)",
    "overhead": "an ICC step against a cross-entropy step",
    "loader": "our training loader against torchvision's transforms, on one core",
    "crd": "our CRD negatives against one numpy choice per image, on one core",
    "losses": "each method's loss against the forward pass of its networks",
    "memory": "peak memory of a CIFAR-100 run",
    "profile": "where a step's time goes, without and with what makes it fast",
    "start": "from the command to the end of the first training step, against importing torch",
}
FAST = ["SOLVER.PRECISION", "auto"]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        description="Measure speed as ratios of alternating measurements, with medians and quartiles.",
        epilog="; ".join(f"{name}: {what}" for name, what in WHAT.items()),
    )
    made.add_argument("what", choices=WHAT)
    made.add_argument("--pair", default="dkd", help="engine, memory, profile: dkd (default), crd, teacher, dkd-gpu")
    made.add_argument("--student", default="resnet20", help="overhead, losses: the network (default: resnet20)")
    made.add_argument("--checkpoint", default=None, help="overhead: a teacher's file to begin from")
    made.add_argument("--teacher", default="resnet20", help="losses: the teacher (default: resnet20)")
    made.add_argument("--root", default=None, help="CIFAR-100's folder, as DATASET.ROOT (default: digits in its shape)")
    made.add_argument("--rounds", type=int, default=None, help="pairs of measurements")
    made.add_argument("--seconds", type=float, default=8.0, help="engine, memory: that each lasts (default: 8)")
    made.add_argument("--threads", type=int, default=None, help="torch's threads (default: every core)")
    made.add_argument("--json", default=None, metavar="FILE", help="write the figures there too")
    made.add_argument("options", nargs="*", metavar="KEY VALUE", help="overrides (default: SOLVER.PRECISION auto)")
    return made


def main() -> int:
    """Measure what the command line names and print it."""
    arguments = parser().parse_intermixed_args()
    from mdistiller_icc.config import pairs
    from mdistiller_icc.errors import UserError, nearest

    pairs(arguments.options)
    options = arguments.options or FAST
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = 1 if arguments.what in ("loader", "crd") else arguments.threads or cores
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["MDISTILLER_ICC_HOST"] = "builtin"
    import torch

    from mdistiller_icc.benchmark import engine

    torch.set_num_threads(threads)
    if arguments.pair not in engine.PAIRS:
        known = ", ".join(engine.PAIRS)
        raise UserError(f"--pair {arguments.pair}: not one of {known}{nearest(arguments.pair, engine.PAIRS)}")
    rounds, root = arguments.rounds, arguments.root
    result: dict[str, Any]
    if arguments.what in ("engine", "memory"):
        result = engine.compare(
            arguments.pair, root=root, rounds=rounds or {"engine": 5, "memory": 1}[arguments.what],
            seconds=arguments.seconds, threads=threads, options=options,
        )  # fmt: skip
    elif arguments.what == "profile":
        from mdistiller_icc.benchmark.profile import profile

        result = profile(arguments.pair, root, threads, options)
    elif arguments.what == "start":
        from mdistiller_icc.benchmark.start import start

        result = start(root, rounds or 5, options)
    elif arguments.what in ("loader", "crd"):
        from mdistiller_icc.benchmark import loading

        if arguments.what == "loader":
            result = loading.loader(root, rounds or 15, options)
        else:
            result = loading.negatives(root, rounds or 15)
    else:
        from mdistiller_icc.benchmark import steps

        if arguments.what == "overhead":
            result = steps.overhead(arguments.student, root, rounds or 100, options, arguments.checkpoint)
        else:
            result = steps.losses(arguments.teacher, arguments.student, root, rounds or 15, options)
    machine = {"torch": torch.__version__, "threads": threads, "processor": _processor(), "images": root or "digits"}
    if torch.cuda.is_available():
        machine["device"] = torch.cuda.get_device_name()
    print(*lines({"what": arguments.what, **machine, **result}), sep="\n")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"what": arguments.what, "machine": machine, "result": result}, file, indent=2)
    return 0


def lines(tree: dict[str, Any], indent: str = "") -> list[str]:
    """The figures, one a line; a ratio as its median with quartiles."""
    shown = []
    for key, value in tree.items():
        if isinstance(value, dict) and value.keys() == {"median", "low", "high", "pairs"}:
            spread = f"quartiles {value['low']:.3g} to {value['high']:.3g}, {value['pairs']} pairs"
            shown.append(f"{indent}{key}: {value['median']:.3g} ({spread})")
        elif isinstance(value, dict):
            shown += [f"{indent}{key}:", *lines(value, indent + "  ")]
        elif isinstance(value, list):
            shown.append(f"{indent}{key}: {' '.join(map(str, value))}")
        else:
            shown.append(f"{indent}{key}: {value:.4g}" if isinstance(value, float) else f"{indent}{key}: {value}")
    return shown


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
